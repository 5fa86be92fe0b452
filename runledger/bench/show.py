"""The report in the terminal: tables, bars and lines; and lines as PNG where matplotlib is."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runledger.bench.report import Figure, Series
from runledger.bench.stage import Spent

_REACHED = {True: "[green]yes[/]", False: "[yellow]no[/]", None: "not measured"}
_STEPS = " ▁▂▃▄▅▆▇█"
_WIDTH = 40
_COSTS = {
    "server_cpu_us": "{:,.1f} us", "client_cpu_us": "{:,.1f} us", "wal_bytes": "{:,.0f} B",
    "transactions": "{:.3f}", "statements": "{:.3f}",
}  # fmt: skip


def report(console: Console, lines: Sequence[Figure | str]) -> None:
    """Print the setting, what one job cost, what can be drawn, what was measured, and last the goals."""
    figures = [line for line in lines if isinstance(line, Figure)]
    for line in lines:
        if isinstance(line, str):
            console.print(line, style="dim", highlight=False)
    for part in (_measured(figures), _costs(figures), _goals(figures)):
        console.print()
        console.print(part)
        if part.title == "Measured":
            _draw(console, figures)
    for figure in figures:
        if figure.reached is False:
            why = f": {figure.analysis}" if figure.analysis else ""
            console.print(f"not reached: {escape(figure.what)}{escape(why)}", highlight=False)


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", title_style="bold")
    for head in heads:
        table.add_column(head, overflow="fold", ratio=2 if head == heads[0] else 1)
    return table


def _ratio(figure: Figure) -> str:
    return f"{figure.ratio:.2f}" if figure.ratio is not None else ""


def _measured(figures: Sequence[Figure]) -> Table:
    table = _table("Measured", "what", "Runledger", "raw limit", "ratio")
    for figure in figures:
        table.add_row(escape(figure.what), figure.ours, figure.raw, _ratio(figure))
    return table


def _costs(figures: Sequence[Figure]) -> Table:
    table = _table(
        "One job costs (raw limit)", "what", "server CPU", "client CPU", "WAL", "transactions", "statements"
    )  # fmt: skip
    for figure in figures:
        if figure.spent:
            table.add_row(escape(figure.what), *(_cost(figure.spent, figure.raw_spent, name) for name in _COSTS))
    return table


def _cost(spent: Spent, raw: Spent | None, name: str) -> str:
    value, bare = getattr(spent, name), getattr(raw, name, None)
    text = "not measured" if value is None else _COSTS[name].format(value)
    return text if bare is None else f"{text} ({_COSTS[name].format(bare)})"


def _goals(figures: Sequence[Figure]) -> Table:
    table = _table("Goals", "goal", "measured", "ratio", "wanted", "reached")
    for figure in figures:
        if figure.goal:
            row = (escape(figure.what), figure.ours, _ratio(figure), figure.goal, _REACHED[figure.reached])
            table.add_row(*row)
    return table


def _shares(figures: Sequence[Figure]) -> list[Figure]:
    return [figure for figure in figures if figure.spent and figure.raw.endswith("/s")]


def _draw(console: Console, figures: Sequence[Figure]) -> None:
    """Bars of what is a share of the raw limit, and a line for each series."""
    shares = _shares(figures)
    if shares:
        console.print("\n[bold]Share of the raw limit[/]")
        longest = max(len(figure.what) for figure in shares)
        for figure in shares:
            console.print(f"{figure.what:<{longest}} {_bar(figure.ratio or 0)}", highlight=False, markup=False)
    for figure in figures:
        if figure.series:
            across, up = figure.axes
            console.print(f"\n[bold]{escape(figure.what)}[/] ({up} over {across})", highlight=False)
            for text in spark(figure.series):
                console.print(text, highlight=False, markup=False)


def _bar(share: float) -> str:
    return f"{'█' * round(min(share, 1.5) * _WIDTH)} {share:.2f}"


def spark(series: Series) -> list[str]:
    """A line of text for each series, all on one scale from zero."""
    top = max((value for points in series.values() for _, value in points), default=0) or 1
    longest = max(map(len, series))
    return [
        f"{name:<{longest}} {''.join(_STEPS[round(max(value, 0) / top * 8)] for _, value in points)}"
        f" {points[0][1]:,.4g} to {points[-1][1]:,.4g}"
        for name, points in series.items()
    ]


def can_plot() -> bool:
    """Whether pictures can be made."""
    return importlib.util.find_spec("matplotlib") is not None


def plot(figures: Sequence[Figure], directory: Path) -> list[Path]:
    """Write a PNG for each figure that has lines, and one of the shares; their paths."""
    import matplotlib as mpl  # noqa: PLC0415 - an extra

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    directory.mkdir(parents=True, exist_ok=True)
    written = []
    shares = _shares(figures)
    if shares:
        canvas, axes = plt.subplots(figsize=(9, 0.4 * len(shares) + 1.2), layout="constrained")
        axes.barh([figure.what for figure in shares], [figure.ratio or 0 for figure in shares])
        axes.invert_yaxis()
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlabel("share of the raw limit")
        written.append(_saved(canvas, directory / "shares.png"))
        plt.close(canvas)
    for figure in figures:
        if not figure.series:
            continue
        canvas, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
        for name, points in figure.series.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        if figure.axes[0] == "rows":
            axes.set_xscale("log")
        axes.set(title=figure.what, xlabel=figure.axes[0], ylabel=figure.axes[1])
        axes.set_ylim(bottom=0)
        axes.legend()
        name = re.sub(r"\W+", "-", figure.what).strip("-").lower()
        written.append(_saved(canvas, directory / f"{name}.png"))
        plt.close(canvas)
    return written


def _saved(canvas: object, path: Path) -> Path:
    canvas.savefig(path, dpi=120)  # type: ignore[attr-defined]
    return path
