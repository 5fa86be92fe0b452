"""What Runledger costs, as ratios to a raw limit on the same server in the same run.

Each figure stands beside the least that any queue on this server must do: a bare table with one partial index, a
bare insert that notifies a session which claims. Rounds of both take turns and the median of each counts, so a busy
machine hurts both alike. Absolute figures say more about the machine than about Runledger: compare ratios, and only
within one run.

Everything happens in a database of its own, made on the server and dropped at the end. Without a server given it
starts an embedded one as a server is run in earnest: on disk, with fsync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from runledger.bench import cron, drain, enqueue, idle, ladder, pickup, snapshot, workflows
from runledger.bench.jobs import app
from runledger.bench.report import ANALYSES, Figure, as_json
from runledger.bench.stage import QUICK, Scale, Stage, stage

MEASURES: dict[str, Callable[[Stage], Iterator[Figure]]] = {
    "single": enqueue.single,
    "bulk": enqueue.bulk,
    "drain": drain.measure,
    "pickup": pickup.measure,
    "workflows": workflows.measure,
    "snapshot": snapshot.measure,
    "idle": idle.measure,
    "ladder": ladder.measure,
    "cron": cron.measure,
}


def run(scale: Scale, only: Sequence[str] = ()) -> Iterator[str | Figure]:
    """Measure, and yield a line of text for the setting and a `Figure` for each result as it comes."""
    with stage(scale) as place:
        yield place.setting
        for name in dict.fromkeys(only or MEASURES):
            for figure in MEASURES[name](place):
                missed = figure.reached is False and name in ANALYSES
                yield replace(figure, analysis=f"sql/DECISIONS.md {ANALYSES[name]}") if missed else figure


__all__ = ["MEASURES", "QUICK", "Figure", "Scale", "app", "as_json", "run"]
