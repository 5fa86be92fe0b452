"""A worker of psycopg and little else: what anybody might write. It does not beat, reaps between its batches, and for `pay`
moves money in the transaction of the completion.
"""

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

from tests.chaos.graph import multiply
from tests.chaos.journal import CLAIMED, MIDWAY, SENT, UNSENT, Journal, die, now

TYPES = ["plain", "slow", "flaky", "doomed", "more", "step", "tick", "pay"]
CLAIM = "select job_id, lease_token, job_type, payload, run_number, attempt, inputs from runledger.claim_jobs(%s, %s::text[], %s, %s)"
FINISH = "select job_id, disposition, replayed from runledger.finish_jobs(%s::jsonb)"
REAP = "select count(*) from runledger.reap_expired_leases(200, '0.3 s')"
REAP_SECONDS = 0.5
MOVE = "insert into public.transfers (job_id, run_number, lease_token) values (%s, %s, %s)"
MOVE_IF_DONE = (
    f"with done as ({FINISH}) insert into public.transfers (job_id, run_number, lease_token)"
    " select d.job_id, %s, %s from done as d where d.disposition = 'SUCCEEDED' and not d.replayed"
)
TRIES = 200


class Refused(Exception):
    """The ledger does not count this completion: the transaction is rolled back."""


class Bare:
    def __init__(self, dsn: str, book: Journal, *, lease: int, batch: int, oversleep: float, reaps: bool) -> None:
        self._dsn, self._book, self._lease, self._batch = dsn, book, lease, batch
        self._oversleep, self._reaps = oversleep, reaps
        self._conn: psycopg.Connection[Any] | None = None
        self._dice = random.Random(book.name)
        self._reap_at = 0.0
        self._calm = Path(os.environ["CHAOS_FILES"]) / "calm"  # the faults are over, and to oversleep is one
        self.stop = threading.Event()

    def connection(self) -> psycopg.Connection[Any]:
        if self._conn is None or self._conn.closed:
            self._conn = psycopg.connect(self._dsn, autocommit=True, prepare_threshold=None, connect_timeout=2)
        return self._conn

    def lose(self) -> None:
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    def run(self) -> None:
        while not self.stop.is_set():
            sent = now()
            try:
                if self._reaps and time.monotonic() >= self._reap_at:
                    self._reap_at = time.monotonic() + REAP_SECONDS
                    self.connection().execute(REAP)
                    sent = now()
                claims = self.connection().execute(CLAIM, [self._book.name, TYPES, self._batch, self._lease]).fetchall()
            except psycopg.Error:
                # What it may have claimed is nobody's until the leases end.
                self._book.write("unknown", sent, now(), "claim_jobs")
                self.lose()
                time.sleep(0.05)
                continue
            if not claims:
                time.sleep(0.02)
                continue
            self._book.write("claim", sent, now(), [[str(job), token] for job, token, *_ in claims])
            self._book.reach(CLAIMED)
            self._work(claims)

    def _work(self, claims: list[tuple[Any, ...]]) -> None:
        plain, others = [], []  # apart: a batch of plain successes ends in one statement of its own
        for job, token, job_type, payload, run, attempt, inputs in claims:
            self._book.write("start", now(), str(job), token, run)
            self._book.reach(MIDWAY)
            if self._dice.random() < self._oversleep and not self._calm.exists():
                time.sleep(self._lease * 1.5)
            item: dict[str, Any] = {"job_id": str(job), "lease_token": token, "outcome": "SUCCEEDED"}
            if job_type == "pay":
                self._finish([item], run)
                continue
            if job_type == "step":
                item["output"] = multiply(payload, inputs)
            elif job_type == "more" and run == 1:
                item |= {"outcome": "CONTINUE"}
            elif job_type == "flaky" and attempt == 1:
                item |= {"outcome": "FAILED", "error_code": "chaos.flaky", "error_message": "not at the first try"}
            elif job_type == "doomed" and run == 1:
                item |= {
                    "outcome": "FAILED",
                    "kind": "TERMINAL",
                    "error_code": "chaos.doomed",
                    "error_message": "not in the first run",
                }
            (plain if job_type == "plain" else others).append(item)
        for outcomes in filter(None, (plain, others)):
            self._finish(outcomes, None)

    def _finish(self, outcomes: list[dict[str, Any]], paid_run: int | None) -> None:
        """Send the identical call until there is an answer."""
        self._book.reach(UNSENT)
        text = json.dumps(outcomes)
        for _ in range(TRIES):
            sent = now()
            told: list[tuple[Any, ...]] = []
            try:
                conn = self.connection()
                if self._book.is_to_die(SENT):
                    self._send_and_die(conn, text, outcomes[0], paid_run)
                with conn.transaction():
                    if paid_run is not None:
                        conn.execute(MOVE, [outcomes[0]["job_id"], paid_run, outcomes[0]["lease_token"]])
                    told = conn.execute(FINISH, [text]).fetchall()
                    if paid_run is not None and (told[0][1] != "SUCCEEDED" or told[0][2]):
                        raise Refused
            except Refused:
                pass
            except psycopg.Error:
                self._book.write("unknown", sent, now(), "finish_jobs")
                self.lose()
                time.sleep(0.05)
                continue
            self._book.write("finish", sent, now(), [
                [item["job_id"], item["lease_token"], item["outcome"], row[1], row[2]]
                for item, row in zip(outcomes, told, strict=True)
            ])  # fmt: skip
            return

    def _send_and_die(
        self, conn: psycopg.Connection[Any], text: str, item: dict[str, Any], paid_run: int | None
    ) -> None:
        cursor = psycopg.ClientCursor(conn)
        words = cursor.mogrify(FINISH, [text])
        if paid_run is not None:  # nobody is there any more to roll back what was refused
            words = cursor.mogrify(MOVE_IF_DONE, [text, paid_run, item["lease_token"]])
        conn.pgconn.send_query(words.encode())
        while conn.pgconn.flush():
            pass
        die()


if __name__ == "__main__":
    bare = Bare(
        os.environ["RUNLEDGER_DSN"], Journal.of_environment(), lease=int(os.environ["CHAOS_LEASE"]), batch=int(os.environ["CHAOS_BATCH"]),
        oversleep=float(os.environ.get("CHAOS_OVERSLEEP", "0")), reaps=os.environ["CHAOS_REAPS"] == "1",
    )  # fmt: skip
    signal.signal(signal.SIGTERM, lambda *_: bare.stop.set())
    bare.run()
