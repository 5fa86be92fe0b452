"""Draining a queue of jobs that do nothing, with one runner process and with several."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

from runledger.bench.enqueue import RAW_BULK, fill
from runledger.bench.report import Figure
from runledger.bench.stage import RAW_CLAIM, RAW_COMPLETE, Spent, Stage, median

BATCH = 100
CLAIMED = "select case when is_called then last_value else 0 end from runledger.lease_token_seq"
DONE = "select not exists (select from runledger.job_queue where status in ('PENDING', 'LEASED'))"


@dataclass(frozen=True, slots=True)
class Drain:
    """A way to drain: so many processes, each with these settings."""

    processes: int
    batch: int
    concurrency: int

    def __str__(self) -> str:
        processes = "one process" if self.processes == 1 else f"{self.processes} processes"
        return f"{processes}, {self.batch} a claim, {self.concurrency} at once"


WAYS = (Drain(1, 100, 200), Drain(1, 500, 1000), Drain(1, 16, 32), Drain(2, 500, 1000), Drain(4, 500, 1000))
"""The first two by themselves when it must be quick."""


def measure(stage: Stage) -> Iterator[Figure]:
    """The rate of each way, beside the bare loop; WAL against its goal."""
    raw_times: list[float] = []
    raw_spent: list[Spent] = []
    ways = WAYS[: stage.scale.ways]
    times: dict[Drain, list[float]] = {way: [] for way in ways}
    spent: dict[Drain, list[Spent]] = {way: [] for way in ways}
    for _ in range(stage.scale.rounds):
        seconds, what = raw_drain(stage, stage.scale.jobs)
        raw_times.append(seconds)
        raw_spent.append(what)
        for way in ways:
            seconds, what = drain(stage, way)
            times[way].append(seconds)
            spent[way].append(what)
    bare = statistics.median(raw_times)
    ours = {way: statistics.median(times[way]) for way in ways}
    best = min((way for way in ways if way.processes == 1), key=lambda way: ours[way])
    for way in ways:
        ratio = bare / ours[way]
        yield Figure(
            what=f"drain, {way}", ours=f"{1 / ours[way]:,.0f}/s", raw=f"{1 / bare:,.0f}/s", ratio=ratio,
            goal=">= 0.9" if way is best else "", reached=ratio >= 0.9 if way is best else None,
            spent=median(spent[way]), raw_spent=median(raw_spent),
        )  # fmt: skip
    wal = median(spent[best]).wal_bytes or 0
    raw_wal = median(raw_spent).wal_bytes or 0
    yield Figure(
        what="WAL a job, drained", ours=f"{wal:,.0f} B", raw=f"{raw_wal:,.0f} B", ratio=wal / max(raw_wal, 1),
        goal="<= 2,200 B", reached=wal <= 2200,
    )  # fmt: skip


def raw_drain(stage: Stage, jobs: int) -> tuple[float, Spent]:
    """The bare loop: claim a batch and complete the last one in one round trip and one commit. Seconds a job."""
    stage.empty()
    stage.conn.execute(RAW_BULK, [jobs])
    stage.conn.execute("vacuum analyze raw_queue")
    with stage.connect() as conn:
        before = stage.reading()
        done: list[int] = []
        while True:
            with conn.pipeline():
                if done:
                    conn.execute(RAW_COMPLETE, [done])
                cursor = conn.execute(RAW_CLAIM, [BATCH])
            rows = cursor.fetchall()
            done = [row[0] for row in rows]
            if not rows:
                break
        after = stage.reading()
    return (after.at - before.at) / jobs, before.until(after, jobs)


def drain(stage: Stage, way: Drain) -> tuple[float, Spent]:
    """Fill the queue and work it off: seconds a job, and what it cost."""
    stage.empty()
    fill(stage, stage.scale.jobs)
    stage.conn.execute("vacuum analyze runledger.job_queue")
    return work_off(stage, way, jobs=stage.scale.jobs, done=DONE)


def work_off(stage: Stage, way: Drain, *, jobs: int, done: str) -> tuple[float, Spent]:
    """Have workers do all there is, so many jobs, until a query says that it is done. Seconds a job and what it cost.

    From just before the first claim on: starting processes is not working.
    """
    settings = ("--claim-batch-size", str(way.batch), "--max-global-concurrency", str(way.concurrency))
    start = stage.value(CLAIMED)
    with contextlib.ExitStack() as stack:
        pids = [stack.enter_context(stage.worker(*settings)).pid for _ in range(way.processes)]
        before = reading = stage.reading(pids)
        while stage.value(CLAIMED) == start:
            before = reading
            time.sleep(0.002)
            reading = stage.reading(pids)
        stage.until(f"select ({CLAIMED}) >= {start + jobs}", seconds=600, pause=0.01)
        stage.until(done, seconds=600, pause=0.005)
        after = stage.reading(pids)
    return (after.at - before.at) / jobs, before.until(after, jobs)
