"""`runledger bench`: measure beside a raw limit."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

_PARTS = ("single", "bulk", "drain", "pickup", "workflows", "snapshot", "idle", "ladder", "cron")


def _sizes(_context: click.Context, _option: click.Parameter, text: str | None) -> list[int] | None:
    try:
        sizes = None if text is None else [int(size) for size in text.replace("_", "").split(",")]
    except ValueError:
        raise click.BadParameter("give sizes like 1000,10000,100000") from None
    if sizes is not None and (min(sizes) < 1 or sizes != sorted(set(sizes))):
        raise click.BadParameter("give sizes from small to large")
    return sizes


@click.command()
@click.option("--jobs", type=click.IntRange(100), help="Jobs of a drain and of a bulk enqueue.  [default: 20000]")
@click.option("--rounds", type=click.IntRange(1), help="Rounds; the median counts.  [default: 3]")
@click.option(
    "--ladder", callback=_sizes,
    help="Table sizes for the cost of a claim, up to 10000000 say.  [default: 1000,10000,100000]",
)  # fmt: skip
@click.option(
    "--snapshot-seconds", type=click.FloatRange(1),
    help="How long a snapshot is held under load; the goal speaks of 1800.  [default: 20]",
)  # fmt: skip
@click.option("--idle-seconds", type=click.FloatRange(1), help="How long an idle worker is watched.  [default: 10]")
@click.option("--only", multiple=True, type=click.Choice(_PARTS), help="Only this; may be given more than once.")
@click.option("--quick", is_flag=True, help="A small look at whether everything works; its figures say little.")
@click.option(
    "--json", "json_to", type=click.Path(dir_okay=False, allow_dash=True), is_flag=False, flag_value="-",
    help="Write JSON to a file; without a name, or to -, to the standard output in place of tables.",
)  # fmt: skip
@click.option("--plot", "plot_to", type=click.Path(file_okay=False, path_type=Path), help="Write PNG to a directory.")
@click.pass_obj
def bench(
    dsn: str, /, *, quick: bool, only: tuple[str, ...], json_to: str | None, plot_to: Path | None, **given: Any
) -> None:
    """Measure what Runledger costs beside a raw limit on the same server, as ratios.

    Works in a database of its own on the server of --dsn, or on an embedded one, on disk and with fsync. Each figure
    stands beside the least that any queue must do there: a bare table with one partial index, a bare notification.
    Rounds of both take turns and the median counts. Compare the ratios of one run, not the figures of two machines,
    and let nothing else run meanwhile.

    CPU of the server is counted where its processes are on this machine, statements where it has pg_stat_statements;
    elsewhere they are "not measured". WAL and transactions are those of the whole server.
    """
    import psycopg
    from rich.console import Console

    from runledger import bench as b
    from runledger._link import brief
    from runledger.bench import show
    from runledger.embedded import EmbeddedError
    from runledger.errors import RunledgerError
    from runledger.migrate import MigrateError

    if plot_to and not show.can_plot():
        raise click.UsageError("--plot needs matplotlib: pip install 'runledger[bench]'")
    if dsn:
        os.environ["RUNLEDGER_DSN"] = dsn
    chosen = {name: value for name, value in given.items() if value is not None}
    scale = replace(b.QUICK if quick else b.Scale(), **chosen)
    console = Console(stderr=json_to == "-")
    lines: list[b.Figure | str] = []
    try:
        with console.status("measuring") as status:
            for line in b.run(scale, only):
                lines.append(line)
                if isinstance(line, b.Figure):
                    status.update(f"measuring; last: {line.what}")
    except (EmbeddedError, MigrateError, RunledgerError, psycopg.Error) as error:
        click.echo(f"runledger: {brief(error) if isinstance(error, psycopg.Error) else error}", err=True)
        sys.exit(1)
    if plot_to:
        for path in show.plot([line for line in lines if isinstance(line, b.Figure)], plot_to):
            click.echo(path, err=True)
    if json_to == "-":
        click.echo(b.as_json(lines))
        return
    show.report(console, lines)
    if json_to:
        Path(json_to).write_text(b.as_json(lines) + "\n", encoding="utf-8")
