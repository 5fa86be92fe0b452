"""The jobs of the benchmark: `runledger worker runledger.bench:app` does them."""

from __future__ import annotations

import time

from runledger.app import App
from runledger.job import Job

app = App()


@app.job("bench.noop", max_attempts=2)
async def noop(_: Job) -> None:
    """Do nothing: what is left is the cost of the queue."""


@app.job("bench.pickup", max_attempts=2)
async def pickup(_: Job) -> float:
    """Tell when it began, by the clock of this machine."""
    return time.time()
