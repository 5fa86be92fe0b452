"""What was found: one figure a line, beside its raw limit and its goal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from runledger.bench.stage import Spent

ANALYSES = {
    "single": "73", "bulk": "73", "drain": "71 and 75", "pickup": "76", "workflows": "74", "snapshot": "11",
    "idle": "18", "ladder": "11",
}  # fmt: skip
"""The decisions in sql/DECISIONS.md that tell why a goal of a measurement is where it is."""

Series = dict[str, list[tuple[float, float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the report. `ratio` is ours to raw (1: as fast as raw), or what the goal speaks of.

    `spent` is what one job cost. `analysis` says where it is told why a goal is not reached. `series` is what is
    drawn: a name and points for each line; `axes` are the words at its axes.
    """

    what: str
    ours: str
    raw: str = ""
    ratio: float | None = None
    goal: str = ""
    reached: bool | None = None
    spent: Spent | None = None
    raw_spent: Spent | None = None
    analysis: str = ""
    series: Series = field(default_factory=dict)
    axes: tuple[str, str] = ("", "")


def as_json(lines: Sequence[Figure | str]) -> str:
    """The report as JSON: `setting`, and `figures` with the fields of `Figure`."""
    figures = [asdict(line) for line in lines if isinstance(line, Figure)]
    return json.dumps({"setting": next((x for x in lines if isinstance(x, str)), ""), "figures": figures}, indent=2)
