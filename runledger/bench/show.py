"""The report as tables in the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from runledger.bench.report import Figure
from runledger.bench.stage import Spent

_REACHED = {True: "[green]yes[/]", False: "[yellow]no[/]", None: ""}


def tables(console: Console, lines: Sequence[Figure | str]) -> None:
    """Print the setting, what was measured beside its raw limit and goal, and what one job cost."""
    goals = Table("measured", "Runledger", "raw limit", "ratio", "goal", "reached", box=None, header_style="bold")
    for line in lines:
        if isinstance(line, str):
            console.print(line, style="dim")
            continue
        ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
        reached = _REACHED[line.reached] if line.reached is not None or not line.goal else "not measured"
        goals.add_row(line.what, line.ours, line.raw, ratio, line.goal, reached)
    console.print(goals)
    figures = [line for line in lines if isinstance(line, Figure) and line.spent]
    if figures:
        heads = ("one job costs (raw limit)", "server CPU", "client CPU", "WAL", "transactions", "statements")
        costs = Table(*heads, box=None, header_style="bold")
        for figure in figures:
            costs.add_row(figure.what, *_cost(figure.spent, figure.raw_spent))
        console.print()
        console.print(costs)


def _cost(spent: Spent | None, raw: Spent | None) -> list[str]:
    formats = {
        "server_cpu_us": "{:,.1f} us", "client_cpu_us": "{:,.1f} us", "wal_bytes": "{:,.0f} B",
        "transactions": "{:.3f}", "statements": "{:.3f}",
    }  # fmt: skip
    shown = []
    for name, words in formats.items():
        value, bare = getattr(spent, name), getattr(raw, name, None)
        text = "not measured" if value is None else words.format(value)
        shown.append(text if bare is None else f"{text} ({words.format(bare)})")
    return shown
