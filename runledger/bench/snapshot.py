"""Steady work beneath a snapshot that somebody holds: no dead row goes away, and nothing may get slower by that.

The bare queue has the same load at the same time beneath the same snapshot.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from runledger.bench.drain import CLAIMED
from runledger.bench.enqueue import RAW_BULK, items
from runledger.bench.report import Figure
from runledger.bench.stage import RAW_CLAIM, RAW_COMPLETE, Stage
from runledger.client import Client

TICK = 0.1
INTERVALS = 10
OURS, RAW = r"from runledger\.claim_jobs\(", "update raw_queue as r set status"
BUFFERS = """
select coalesce(sum(s.shared_blks_hit + s.shared_blks_read), 0)::bigint from pg_stat_statements as s
  join pg_database as d on d.oid = s.dbid and d.datname = current_database() where s.query ~ %s
"""


@dataclass(frozen=True, slots=True)
class Look:
    """What one interval saw, ours and raw: jobs a second, and buffers of a claimed job."""

    at: float
    rates: tuple[float, float]
    buffers: tuple[float, float]


def measure(stage: Stage) -> Iterator[Figure]:
    """The rate and the cost of a claim at the end of a held snapshot, beside those without it."""
    stage.empty()
    with stage.worker("--claim-batch-size", "100", "--max-global-concurrency", "200"):
        stage.until_idle()
        with _Load(stage) as claimed:
            yield from _compare(stage, claimed)


def _compare(stage: Stage, claimed: Callable[[], int]) -> Iterator[Figure]:
    seconds, offered = stage.scale.snapshot_seconds, stage.scale.offered
    free = list(_watch(stage, claimed, min(seconds, 60)))
    with stage.connect() as holder:
        holder.execute("begin isolation level repeatable read")
        holder.execute("select from pg_class limit 1")
        held = list(_watch(stage, claimed, seconds))
        holder.execute("rollback")
    where = f"beneath a snapshot held {seconds:,.0f} s, {offered:,} jobs/s offered"
    rate, raw_rate = _last(held, "rates")
    ratio = rate / max(_mean(free, "rates")[0], 1)
    yield Figure(
        what=f"rate {where}", ours=f"{rate:,.0f}/s", raw=f"{raw_rate:,.0f}/s", ratio=ratio,
        goal=">= 0.9 of without", reached=ratio >= 0.9,
        series=_series(free, held, "rates"), axes=("seconds; the snapshot is held from 0 on", "jobs/s"),
    )  # fmt: skip
    if not stage.counts_statements:
        yield Figure(what="buffers of a claimed job beneath it", ours="not measured: no pg_stat_statements")
        return
    before, after = _mean(free, "buffers"), _last(held, "buffers")
    shown = [f"{before[i]:,.1f}, then {after[i]:,.1f}" for i in (0, 1)]
    yield Figure(
        what="buffers of a claimed job beneath it", ours=shown[0], raw=shown[1], ratio=after[0] / max(before[0], 1),
        series=_series(free, held, "buffers"), axes=("seconds; the snapshot is held from 0 on", "buffers"),
    )  # fmt: skip


def _mean(looks: list[Look], what: str) -> tuple[float, float]:
    ours, raw = zip(*(getattr(look, what) for look in looks), strict=True)
    return statistics.fmean(ours), statistics.fmean(raw)


def _last(looks: list[Look], what: str) -> tuple[float, float]:
    return _mean(looks[-max(1, len(looks) // 4) :], what)


def _series(free: list[Look], held: list[Look], what: str) -> dict[str, list[tuple[float, float]]]:
    begun = held[0].at
    return {
        name: [(look.at - begun, getattr(look, what)[i]) for look in (*free, *held)]
        for i, name in enumerate(("Runledger", "raw"))
    }


def _watch(stage: Stage, raw_claimed: Callable[[], int], seconds: float) -> Iterator[Look]:
    counted, first = stage.counts_statements, stage.value(CLAIMED)

    def state() -> tuple[float, int, int, int, int]:
        buffers = [stage.value(BUFFERS, query) if counted else 0 for query in (OURS, RAW)]
        return time.monotonic(), stage.value(CLAIMED), raw_claimed(), buffers[0], buffers[1]

    while stage.value(CLAIMED) == first or not raw_claimed():
        time.sleep(TICK)
    last = state()
    for _ in range(INTERVALS):
        time.sleep(seconds / INTERVALS)
        now = state()
        span, jobs, raw_jobs, buffers, raw_buffers = (new - old for new, old in zip(now, last, strict=True))
        yield Look(
            now[0], (jobs / span, raw_jobs / span), (buffers / max(jobs, 1), raw_buffers / max(raw_jobs, 1))
        )  # fmt: skip
        last = now


class _Load:
    """Offers jobs at a steady rate to both queues, and works off the bare one."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._stop = threading.Event()
        self._claimed = 0
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guard, args=[each]) for each in (self._offer, self._raw)]

    def __enter__(self) -> Callable[[], int]:
        for thread in self._threads:
            thread.start()
        return lambda: self._claimed

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        if self._errors:
            raise self._errors[0]

    def _guard(self, work: Callable[[psycopg.Connection[Any]], None]) -> None:
        try:
            with self._stage.connect() as conn:
                work(conn)
        except BaseException as error:  # noqa: BLE001 - raised by __exit__
            self._errors.append(error)

    def _due(self) -> Iterator[int]:
        """How many jobs to offer now, tick by tick; what was missed is made good."""
        began, offered = time.monotonic(), 0
        while not self._stop.wait(TICK):
            due = int((time.monotonic() - began) * self._stage.scale.offered) - offered
            offered += due
            yield due

    def _offer(self, conn: psycopg.Connection[Any]) -> None:
        client = Client(conn)
        for due in self._due():
            for done in range(0, due, 1000):
                client.enqueue_jobs(items(min(1000, due - done)))

    def _raw(self, conn: psycopg.Connection[Any]) -> None:
        for due in self._due():
            conn.execute(RAW_BULK, [due])
            while ids := [row[0] for row in conn.execute(RAW_CLAIM, [100]).fetchall()]:
                conn.execute(RAW_COMPLETE, [ids])
                self._claimed += len(ids)
