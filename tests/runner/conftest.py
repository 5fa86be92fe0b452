"""`runner`: an app, a worker in a thread of the test, and ways to wait for what it should do."""

# ruff: noqa: ASYNC110, ASYNC251 - they wait for the test in another thread or process
from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from runledger import App, Client
from runledger.config import Config
from runledger.supervisor import Supervisor
from tests.support.database import Db
from tests.support.servers import ROOT
from tests.support.waiting import until

PATIENCE = 20.0


class Gate:
    """Holds handlers until the test opens it, and tells that one has come."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._open = threading.Event()

    async def pass_(self) -> None:
        self.reached.set()
        while not self._open.is_set():
            await asyncio.sleep(0.005)

    def wait(self) -> None:
        self.reached.set()
        assert self._open.wait(PATIENCE)

    def await_arrival(self) -> None:
        assert self.reached.wait(PATIENCE), "no handler came"

    def open(self) -> None:
        self._open.set()


class Runner:
    def __init__(self, db: Db) -> None:
        self.db = db
        self.app = App()
        self.job = self.app.job
        self.client = Client.connect(db.dsn)
        self._running: list[Supervisor] = []

    def start(self, *, dsn: str = "", observers: tuple[object, ...] = (), **settings: Any) -> Supervisor:
        """Start a worker in a thread; it is stopped with the test."""
        config = Config(**{"poll_interval_ms": 100, "reaper_interval_seconds": 60, "lease_ttl_seconds": 30, **settings})
        supervisor = Supervisor(self.app, dsn or self.db.dsn, config=config, observers=observers)
        self._running.append(supervisor)
        return supervisor.__enter__()

    def stop(self, supervisor: Supervisor) -> None:
        """Stop it; raises what ended it."""
        self._running.remove(supervisor)
        supervisor.__exit__(None, None, None)

    def define(self) -> None:
        self.app.define(self.client)

    def enqueue(self, job_type: str, payload: Any = None, **options: Any) -> UUID:
        return self.client.enqueue_job(job_type, payload, **options).job_id

    def wait(self, job_id: UUID, *statuses: str) -> dict[str, Any]:
        """The row of the job once it has one of the statuses (by default: finished)."""
        wanted = statuses or ("SUCCEEDED", "DEAD_LETTERED", "CANCELED")
        until(lambda: self.db.job(job_id)["status"] in wanted, f"{job_id} to be {wanted}: {self.db.job(job_id)}")
        return self.db.job(job_id)

    def wait_event(self, job_id: UUID, event: str, count: int = 1) -> None:
        until(lambda: self.db.events(job_id).count(event) >= count, f"{event} of {job_id}")

    def finish(self, job_type: str, payload: Any = None, **options: Any) -> dict[str, Any]:
        """Enqueue a job, wait for its end, return its row."""
        return self.wait(self.enqueue(job_type, payload, **options))

    def close(self) -> None:
        errors = []
        for supervisor in self._running:
            try:
                supervisor.__exit__(None, None, None)
            except Exception as error:
                errors.append(error)
        self.client.close()
        assert not errors, errors


@pytest.fixture
def runner(db: Db) -> Iterator[Runner]:
    runner = Runner(db)
    yield runner
    runner.close()


class Process:
    """`runledger worker tests.runner.jobs:app` as a process of its own; its jobs speak through files in `files`."""

    def __init__(self, dsn: str, files: Path, **settings: str) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("JOBS_", "PG"))}
        environ |= {"RUNLEDGER_DSN": dsn, "PYTHONPATH": str(ROOT), "JOBS_POLL_INTERVAL_MS": "100", **settings}
        self.log = files / f"log-{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "runledger", "worker", "tests.runner.jobs:app"],
                env=environ, cwd=ROOT, stdout=log, stderr=log,
            )  # fmt: skip

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


@pytest.fixture
def worker_process(db: Db, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def start(dsn: str = "", **settings: str) -> Process:
        started.append(Process(dsn or db.dsn, tmp_path, **settings))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def backends(db: Db, worker_id: str) -> list[int]:
    """Server processes of a worker."""
    return db.column(
        "select pid from pg_stat_activity where datname = current_database() and application_name = %s order by pid",
        [f"runledger:{worker_id}"[:63]],
    )


def expire(db: Db, job_id: UUID) -> None:
    """Let the lease of a job have run out."""
    db.execute("update runledger.job_queue set lease_expires_at = now() - interval '1 s' where id = %s", [job_id])


def connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True)
