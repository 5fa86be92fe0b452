"""`runledger bench`: measure beside a raw limit."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

_PARTS = ("single", "bulk", "drain", "pickup", "idle", "ladder", "cron")


@click.command()
@click.option("--jobs", type=click.IntRange(100), help="Jobs of a drain and of a bulk enqueue.  [default: 20000]")
@click.option("--rounds", type=click.IntRange(1), help="Rounds; the median counts.  [default: 3]")
@click.option("--ladder", help="Table sizes for the cost of a claim.  [default: 1000,10000,100000]")
@click.option("--idle-seconds", type=float, help="How long an idle worker is watched.  [default: 10]")
@click.option("--only", multiple=True, type=click.Choice(_PARTS), help="Only this; may be given more than once.")
@click.option("--quick", is_flag=True, help="A small look at whether everything works; its figures say little.")
@click.option(
    "--json", "json_to", type=click.Path(dir_okay=False, allow_dash=True), is_flag=False, flag_value="-",
    help="Write JSON to a file, or to the standard output (without a name, or -) instead of tables.",
)  # fmt: skip
@click.pass_obj
def bench(
    dsn: str, /, *, quick: bool, only: tuple[str, ...], ladder: str | None, json_to: str | None, **given: Any
) -> None:
    """Measure what Runledger costs beside a raw limit on the same server, as ratios.

    Works in a database of its own on the server of --dsn, or on an embedded one. Each figure stands beside the least
    that any queue must do there, in rounds that take turns; compare the ratios, not the figures of two machines.
    """
    from rich.console import Console

    from runledger import bench as b
    from runledger.bench import show

    if dsn:
        os.environ["RUNLEDGER_DSN"] = dsn
    if ladder:
        given["ladder"] = [int(size) for size in ladder.split(",")]
    chosen = {name: value for name, value in given.items() if value is not None}
    scale = replace(b.QUICK if quick else b.Scale(), **chosen)
    console = Console(stderr=json_to == "-")
    lines: list[b.Figure | str] = []
    with console.status("measuring") as status:
        for line in b.run(scale, only):
            lines.append(line)
            status.update(f"measuring; last: {line.what if isinstance(line, b.Figure) else 'the setting'}")
    if json_to == "-":
        click.echo(b.as_json(lines))
        return
    show.tables(console, lines)
    if json_to:
        Path(json_to).write_text(b.as_json(lines) + "\n", encoding="utf-8")
