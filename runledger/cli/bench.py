"""`runledger bench`: measure beside a raw limit."""

from __future__ import annotations

import os

import click


@click.command()
@click.option("--jobs", default=20_000, show_default=True, help="Jobs of a drain and of a bulk enqueue.")
@click.option("--ladder", default="10000,100000", show_default=True, help="Table sizes for the cost of a claim.")
@click.option("--rounds", default=3, show_default=True, help="Rounds; the median counts.")
@click.option("--idle-seconds", default=10.0, show_default=True, help="How long an idle worker is watched.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON at the end instead of a table as it comes.")
@click.pass_obj
def bench(dsn: str, /, *, jobs: int, ladder: str, rounds: int, idle_seconds: float, as_json: bool) -> None:
    """Measure what Runledger costs beside a raw limit on the same server, as ratios.

    Works in a database of its own on the server of --dsn, or on an embedded one. Each figure stands beside the least
    that any queue must do there, in rounds that take turns; compare the ratios, not the figures of two machines.
    """
    from rich.console import Console
    from rich.table import Table

    from runledger import bench as b

    if dsn:
        os.environ["RUNLEDGER_DSN"] = dsn
    console = Console(stderr=as_json)
    lines: list[b.Figure | str] = []
    table = Table("measured", "Runledger", "raw limit", "ratio", "goal", "", box=None, header_style="bold")
    with console.status("measuring"):
        sizes = [int(x) for x in ladder.split(",")]
        for line in b.run(jobs=jobs, ladder=sizes, rounds=rounds, idle_seconds=idle_seconds):
            lines.append(line)
            if isinstance(line, str):
                console.print(line, style="dim")
                continue
            ratio = f"{line.ratio:.2f}" if line.ratio is not None else ""
            said = {True: "[green]reached[/]", False: "[yellow]not reached[/]", None: ""}[line.reached]
            table.add_row(line.what, line.ours, line.raw, ratio, line.goal, said)
    if as_json:
        click.echo(b.as_json(lines))
    else:
        console.print(table)
