"""Enqueues jobs and workflows under keys; after a lost reply it sends the identical request until there is an answer."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.graph import STEPS
from tests.chaos.journal import Journal, now

BATCH = 100
MIX = {"plain": 74, "slow": 5, "flaky": 4, "doomed": 2, "more": 3, "pay": 7}
ENQUEUE = "select job_id, disposition, code from runledger.enqueue_jobs(%s::jsonb)"
START = "select workflow_run_id, disposition from runledger.enqueue_workflow('diamond', %s::jsonb, idempotency_key => %s, result_step => 'c')"


class Producer:
    def __init__(self, dsn: str, book: Journal, *, jobs: int, burst: int, hold: Path, seed: int) -> None:
        self._dsn, self._book, self._jobs, self._burst, self._hold = dsn, book, jobs, burst, hold
        self._conn: psycopg.Connection[Any] | None = None
        self._dice = random.Random(seed)
        self.stop = threading.Event()

    def run(self) -> None:
        try:
            self._produce()
        finally:
            if self._conn is not None:
                self._conn.close()

    def _produce(self) -> None:
        made = batch = 0
        while made < self._jobs and not self.stop.is_set():
            if self._hold.exists():
                time.sleep(0.02)
                continue
            batch += 1
            types = self._dice.choices(list(MIX), list(MIX.values()), k=BATCH) + ["plain"] * self._burst
            entries = [self._entry(job_type, f"{self._book.name}-{batch}-{nth}") for nth, job_type in enumerate(types)]
            self._until_answered(ENQUEUE, [json.dumps(entries)], [e["idempotency_key"] for e in entries])
            for nth in range(2):
                self._until_answered(START, [json.dumps(STEPS), f"{self._book.name}-{batch}-{nth}"], None)
            made += len(types) + 2 * len(STEPS)

    def _entry(self, job_type: str, key: str) -> dict[str, Any]:
        payload = {"seconds": round(self._dice.random() / 20, 3)} if job_type == "slow" else {}
        return {"job_type": job_type, "payload": payload, "idempotency_key": key}

    def _until_answered(self, query: str, params: list[Any], keys: list[str] | None) -> None:
        while True:
            sent = now()
            try:
                if self._conn is None:
                    self._conn = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None, connect_timeout=2)
                rows = self._conn.execute(query.encode(), params).fetchall()
            except psycopg.Error:
                self._book.write("unknown", sent, now(), "enqueue_jobs" if keys else "enqueue_workflow")
                if self._conn is not None:
                    self._conn.close()
                self._conn = None
                if self.stop.is_set():
                    return
                time.sleep(0.05)
                continue
            if keys is None:
                self._book.write("run", sent, now(), str(rows[0][0]))
            else:
                assert all(row[1] in ("INSERTED", "EXISTING") for row in rows), {row[1:] for row in rows}
                self._book.write(
                    "enqueue", sent, now(), [[key, str(row[0])] for key, row in zip(keys, rows, strict=True)]
                )
            return


if __name__ == "__main__":
    producer = Producer(
        os.environ["RUNLEDGER_DSN"], Journal.of_environment(), jobs=int(os.environ["CHAOS_JOBS"]), burst=int(os.environ["CHAOS_BURST"]),
        hold=Path(os.environ["CHAOS_FILES"]) / "hold", seed=int(os.environ["CHAOS_SEED"]),
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: producer.stop.set())
    producer.run()
