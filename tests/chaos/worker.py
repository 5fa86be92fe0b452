"""`runledger worker`, with leases shorter than an operator may ask for: a killed worker's jobs come back sooner."""

from __future__ import annotations

import logging
import os

from runledger.config import Config
from runledger.supervisor import Supervisor, run
from tests.chaos.jobs import app

if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = Config(
        worker_id=os.environ["JOBS_WORKER_ID"], lease_ttl_seconds=int(os.environ["CHAOS_LEASE"]), poll_interval_ms=100,
        claim_batch_size=int(os.environ["CHAOS_BATCH"]), max_global_concurrency=100, reaper_interval_seconds=0.5, reaper_retry_delay_ms=300,
        schedule_poll_interval_seconds=1, shutdown_grace_seconds=1, call_timeout_seconds=2, prepare=int(os.environ["JOBS_PREPARE"]),
    )  # fmt: skip
    run(Supervisor(app, os.environ["RUNLEDGER_DSN"], config=config).run(signals=True))
