"""Jobs for worker processes: each says in a file that it has started and goes on when another file appears."""

# ruff: noqa: ASYNC110, ASYNC251 - they wait for the test in another thread or process
from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

from runledger import App, Job, SyncJob

app = App()


def started(job: Job | SyncJob) -> Path:
    files = Path(job.payload["files"])
    (files / f"started-{job.run_number}-{job.attempt}-{job.lease_token}").touch()
    return files / "go"


@app.job("wait", max_attempts=3)
async def wait(job: Job) -> str:
    go = started(job)
    while not go.exists():
        await asyncio.sleep(0.01)
    return f"attempt {job.attempt}"


@app.job("wait.sync", max_attempts=3)
def wait_sync(job: SyncJob) -> str:
    go = started(job)
    while not go.exists():
        time.sleep(0.01)
    return f"attempt {job.attempt}"


@app.job("block", max_attempts=3)
async def block(job: Job) -> None:
    """Blocks the event loop."""
    go = started(job)
    while not go.exists():
        time.sleep(0.01)


@app.job("die", max_attempts=3)
async def die(job: Job) -> str:
    """Kills its process as the last thing of its first attempt."""
    started(job)
    if job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"attempt {job.attempt}"


@app.job("stubborn", max_attempts=3)
async def stubborn(job: Job) -> None:
    """Does not let itself be canceled."""
    go = started(job)
    while not go.exists():
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            (go.parent / "canceled").touch()
