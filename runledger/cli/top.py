"""`runledger top`: what goes on, live."""

from __future__ import annotations

import os
import shutil
import sys

import click
import psycopg


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between looks.",
)
@click.option("--once", is_flag=True, help="Print everything once and end, as where there is no terminal.")
@click.option("--dsn", "here", help="As for runledger itself.")
@click.pass_obj
def top(dsn: str, /, *, interval: float, once: bool, here: str | None) -> None:
    """Watch queues, running jobs, workers, dead letters and workflows, live.

    Select with the arrows; enter or w says why a job or run is not running, ? lists the keys. What changes something
    asks first. A role that may only look is enough to look. Nothing it asks reads history.
    """
    from rich.console import Console

    from runledger import top as view
    from runledger.cli._output import WIDTH
    from runledger.cli._run import told
    from runledger.errors import RunledgerError

    is_live = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    try:
        if is_live and not once:
            sys.exit(view.run(here or dsn, interval=interval))
        width = shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH
        console = Console(width=width, highlight=False, soft_wrap=False)
        for line in view.frame(here or dsn, width):
            console.print(line, no_wrap=True, overflow="crop")
    except (RunledgerError, psycopg.Error) as error:
        told(error)
        sys.exit(1)
