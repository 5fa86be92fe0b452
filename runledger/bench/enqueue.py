"""Enqueueing: one job and one commit at a time, and thousands in a call."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from runledger.bench.report import Figure
from runledger.bench.stage import Reading, Spent, Stage, median

BULK = 5000
RAW_INSERT = "insert into raw_queue (payload) values (%s) returning id"
RAW_BULK = "insert into raw_queue (payload) select '{\"n\": 1}' from generate_series(1, %s)"


def items(count: int) -> list[dict[str, object]]:
    """So many jobs that do nothing, as a batch."""
    return [{"job_type": "bench.noop", "payload": {"n": 1}}] * count


def fill(stage: Stage, jobs: int) -> None:
    """Enqueue so many jobs that do nothing."""
    for done in range(0, jobs, BULK):
        stage.client.enqueue_jobs(items(min(BULK, jobs - done)))


def single(stage: Stage) -> Iterator[Figure]:
    """One job a call, one call a commit."""
    count = min(1000, stage.scale.jobs)

    def raw() -> None:
        for _ in range(count):
            stage.conn.execute(RAW_INSERT, ['{"n": 1}'])

    def ours() -> None:
        for _ in range(count):
            stage.client.enqueue_job("bench.noop", {"n": 1})

    yield _pair(stage, "single enqueue, one commit each", raw=raw, ours=ours, count=count, goal=0.7)


def bulk(stage: Stage) -> Iterator[Figure]:
    """Thousands of jobs a call."""
    jobs = stage.scale.jobs

    def raw() -> None:
        stage.conn.execute(RAW_BULK, [jobs])

    def ours() -> None:
        fill(stage, jobs)

    what = f"bulk enqueue, {min(BULK, jobs)} a call"
    yield _pair(stage, what, raw=raw, ours=ours, count=jobs, goal=0.4)


def _pair(
    stage: Stage, what: str, *, raw: Callable[[], None], ours: Callable[[], None], count: int, goal: float
) -> Figure:
    raw()
    ours()
    rounds = [[_measured(stage, each, count) for each in (raw, ours)] for _ in range(stage.scale.rounds)]
    bare, full = (statistics.median(each[i][0] for each in rounds) for i in (0, 1))
    ratio = bare / full
    return Figure(
        what=what, ours=f"{count / full:,.0f}/s", raw=f"{count / bare:,.0f}/s", ratio=ratio,
        goal=f">= {goal}", reached=ratio >= goal,
        spent=median([each[1][1] for each in rounds]), raw_spent=median([each[0][1] for each in rounds]),
    )  # fmt: skip


def _measured(stage: Stage, action: Callable[[], None], count: int) -> tuple[float, Spent]:
    before: Reading = stage.reading()
    action()
    after = stage.reading()
    return after.at - before.at, before.until(after, count)
