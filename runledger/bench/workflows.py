"""Graphs of steps that do nothing: a wide fan, diamonds, chains, and how long it takes to submit a large one."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from runledger.bench.drain import Drain, raw_drain, work_off
from runledger.bench.report import Figure
from runledger.bench.stage import RAW_CLAIM, RAW_COMPLETE, Spent, Stage, median, timed
from runledger.workflow import Workflow

WAY = Drain(1, 500, 1000)
DONE = "select not exists (select from runledger.workflow_runs where finished_at is null)"
RAW_NEXT = "insert into raw_queue (payload) values ('{\"n\": 1}')"


@dataclass(frozen=True, slots=True)
class Shape:
    """So many runs of one graph."""

    what: str
    build: Callable[[], Workflow]
    runs: int


def fan(width: int) -> Workflow:
    """One step, then so many side by side, then one that waits for all of them."""
    graph = Workflow("bench.fan")
    graph.job("root", "bench.noop")
    leaves = [graph.job(f"leaf-{n}", "bench.noop", after="root") for n in range(width)]
    graph.job("join", "bench.noop", after=leaves)
    return graph


def diamond() -> Workflow:
    """One step, two side by side, one that waits for both."""
    return fan(2)


def chain(length: int) -> Workflow:
    """Steps one after another."""
    graph = Workflow("bench.chain")
    before: list[str] = []
    for n in range(length):
        before = [graph.job(f"step-{n}", "bench.noop", after=before)]
    return graph


def measure(stage: Stage) -> Iterator[Figure]:
    """Steps a second of each shape, beside the bare loop over as many rows without edges."""
    scale = stage.scale
    chains, length = max(1, scale.diamonds // 20), max(2, scale.chain // 10)
    shapes = [
        Shape(f"steps of a fan, {scale.width:,} wide", lambda: fan(scale.width), 1),
        Shape(f"steps of {scale.diamonds:,} diamonds", diamond, scale.diamonds),
        Shape(f"steps of {chains:,} chains, {length:,} long", lambda: chain(length), chains),
    ]
    for shape in shapes:
        bare: list[tuple[float, Spent]] = []
        full: list[tuple[float, Spent]] = []
        steps = len(shape.build().steps) * shape.runs
        for _ in range(scale.rounds):
            bare.append(raw_drain(stage, steps))
            full.append(_work_off(stage, shape, steps))
        raw, ours = (statistics.median(seconds for seconds, _ in each) for each in (bare, full))
        is_goal = not shape.what.endswith("long")
        yield Figure(
            what=shape.what, ours=f"{1 / ours:,.0f}/s", raw=f"{1 / raw:,.0f}/s", ratio=raw / ours,
            goal=">= 5,000/s" if is_goal else "", reached=1 / ours >= 5000 if is_goal else None,
            spent=median([spent for _, spent in full]), raw_spent=median([spent for _, spent in bare]),
        )  # fmt: skip
    yield _alone(stage)
    yield _submit(stage)


def _work_off(stage: Stage, shape: Shape, steps: int) -> tuple[float, Spent]:
    stage.empty()
    for _ in range(shape.runs):
        stage.client.enqueue_workflow(shape.build())
    stage.conn.execute("vacuum analyze runledger.job_queue, runledger.workflow_steps, runledger.workflow_runs")
    return work_off(stage, WAY, jobs=steps, done=DONE)


def _alone(stage: Stage) -> Figure:
    """One chain by itself: each step is a round trip of its own, and so is each step of the bare one."""
    length = stage.scale.chain
    stage.empty()
    stage.client.enqueue_workflow(chain(length))
    ours, spent = work_off(stage, Drain(1, 100, 200), jobs=length, done=DONE)
    stage.conn.execute(RAW_NEXT)
    with stage.connect() as conn:
        before = stage.reading()
        for _ in range(length):
            ids = [row[0] for row in conn.execute(RAW_CLAIM, [1]).fetchall()]
            with conn.pipeline():
                conn.execute(RAW_COMPLETE, [ids])
                conn.execute(RAW_NEXT)
        after = stage.reading()
    raw = (after.at - before.at) / length
    return Figure(
        what=f"a step of one chain, {length:,} long", ours=f"{ours * 1e3:.2f} ms", raw=f"{raw * 1e3:.2f} ms",
        ratio=ours / raw, spent=spent, raw_spent=before.until(after, length),
    )  # fmt: skip


def _submit(stage: Stage) -> Figure:
    steps = stage.scale.graph
    stage.empty()
    graph = fan(steps - 2)
    seconds = timed(lambda: stage.client.enqueue_workflow(graph))
    return Figure(
        what=f"submit one graph of {steps:,} steps", ours=f"{seconds:.2f} s",
        goal="< 1 s" if steps == 10_000 else "", reached=seconds < 1 if steps == 10_000 else None,
    )  # fmt: skip
