"""A ledger whose workers a test drives by hand: they stop, die or go on where it says, and nothing waits for luck."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import checker, journal, storm
from tests.chaos.bare import REAP_SECONDS, TYPES
from tests.chaos.checker import History, Ledger, Verdict
from tests.chaos.journal import Journal, now
from tests.chaos.producer import ENQUEUE
from tests.support import servers
from tests.support.database import Db
from tests.support.waiting import until

LEASE = 1
RECOVERY = LEASE + REAP_SECONDS + 0.3 + storm.EPSILON


class Site:
    """A ledger, its journal, and workers that are driven by hand."""

    def __init__(self, db: Db, files: Path) -> None:
        self.db, self.files = db, files
        self.book = Journal(files, "producer")
        self._workers: dict[str, subprocess.Popen[bytes]] = {}
        db.execute(
            "create table public.transfers (job_id uuid not null, run_number integer not null, lease_token bigint not null)"
        )
        for job_type in TYPES:
            db.execute(
                "select runledger.define_job(%s, max_attempts => 10, retry_base_ms => 20, retry_max_ms => 200)",
                [job_type],
            )

    def enqueue(self, count: int = 1, job_type: str = "plain") -> list[str]:
        return enqueue(self.db.conn, self.book, count, job_type)

    def worker(self, name: str, *, reaps: bool, module: str = "bare", **settings: str) -> None:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JOBS_", "PG", "RUNLEDGER_"))},
            "RUNLEDGER_DSN": self.db.admin_dsn, "PYTHONPATH": str(servers.ROOT), "CHAOS_FILES": str(self.files), "CHAOS_NAME": name,
            "CHAOS_LEASE": str(LEASE), "CHAOS_BATCH": "10", "CHAOS_REAPS": str(int(reaps)),
            "JOBS_WORKER_ID": name, "JOBS_PREPARE": "1", **settings,
        }  # fmt: skip
        self._workers[name] = subprocess.Popen(
            [sys.executable, "-m", f"tests.chaos.{module}"], env=environment, cwd=servers.ROOT, stdin=subprocess.PIPE
        )

    def freeze(self, name: str, point: str) -> None:
        """Start a worker that stops there with its first claim, and wait until its lease is over."""
        journal.order_freeze(self.files, name, point)
        self.worker(name, reaps=False)
        stat = Path(f"/proc/{self._workers[name].pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", f"{name} stops")
        until(
            lambda: self.db.value(
                "select coalesce(bool_and(lease_expires_at < clock_timestamp()), false) from runledger.job_queue where status = 'LEASED'"
            ),
            "the end of its leases",
        )

    def wake(self, name: str) -> None:
        """Let it go on, until it has been told something about what it had done."""
        self._workers[name].send_signal(signal.SIGCONT)
        until(lambda: any(end.worker.startswith(name) for end in self.history().finishes), f"an answer to {name}")

    def has_ended(self, name: str) -> bool:
        return self._workers[name].poll() is not None

    def dead(self, name: str) -> None:
        until(lambda: self.has_ended(name), f"the end of {name}")

    def ended(self, jobs: list[str]) -> None:
        until(
            lambda: self.db.value(
                "select bool_and(status = 'SUCCEEDED') from runledger.job_queue where id = any (%s)", [jobs]
            ),
            "the ends of the jobs",
        )

    def history(self) -> History:
        return checker.read(self.files)

    def calm(self) -> list[str]:
        return storm.wait_for_calm(self.db.all, RECOVERY)

    def verdict(self, stuck: list[str]) -> Verdict:
        self.close()
        return checker.check(self.history(), Ledger.of(self.db.conn), stuck)

    def close(self) -> None:
        for process in self._workers.values():
            process.kill()
            process.wait()
            if process.stdin:
                process.stdin.close()
        self._workers.clear()


def enqueue(conn: psycopg.Connection[Any], book: Journal, count: int, job_type: str = "plain") -> list[str]:
    """Jobs whose keys and ids go into the journal once they are acknowledged."""
    keys = [f"{now()}-{n}" for n in range(count)]
    sent = now()
    rows = conn.execute(
        ENQUEUE.encode(), [json.dumps([{"job_type": job_type, "idempotency_key": key} for key in keys])]
    ).fetchall()
    jobs = [str(row[0]) for row in rows]
    book.write("enqueue", sent, now(), list(zip(keys, jobs, strict=True)))
    return jobs
