"""The command line: each command is a thin call of a SQL function or of a module, imported when it is used."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import click

from runledger.config import Config


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dsn", help="Connection string. Default: RUNLEDGER_DSN, DATABASE_URL, libpq's PG* variables.")
@click.version_option(package_name="runledger")
@click.pass_context
def main(ctx: click.Context, dsn: str | None) -> None:
    """Runledger: a durable job queue and workflow engine inside PostgreSQL."""
    ctx.obj = resolve_dsn(dsn)


def resolve_dsn(dsn: str | None = None) -> str:
    """Return the connection string in force; empty means libpq's own variables and defaults."""
    return dsn or os.environ.get("RUNLEDGER_DSN") or os.environ.get("DATABASE_URL") or ""


@main.command()
@click.option("--check", is_flag=True, help="Change nothing. Exit code 0: current, 3: pending, 4: drifted.")
@click.option("--dry-run", is_flag=True, help="Do everything and roll back. Takes the same locks.")
@click.option("--print", "print_", is_flag=True, help="Print one script for an empty database: psql -1 -f.")
@click.option("--rollback-functions", is_flag=True, help="Replace the functions of a newer version by ours.")
@click.pass_obj
def migrate(dsn: str, *, check: bool, dry_run: bool, print_: bool, rollback_functions: bool) -> None:
    """Install or upgrade the schema, in one transaction."""
    import psycopg

    from runledger import migrate as m

    if sum((check, dry_run, print_)) > 1:
        raise click.UsageError("--check, --dry-run and --print exclude each other")
    if print_:
        click.echo(m.print_script(), nl=False)
        return
    try:
        report = m.migrate(dsn, check=check, dry_run=dry_run, rollback_functions=rollback_functions, echo=click.echo)
    except m.MigrateError as error:
        click.echo(f"runledger: {error}\nhint: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except psycopg.Error as error:
        click.echo(f"runledger: {error}", err=True)
        sys.exit(1)
    if check:
        click.echo(report.status.lower() + (f": {report.detail}" if report.detail else ""))
        sys.exit({"CURRENT": 0, "PENDING": 3, "DRIFTED": 4}[report.status])


def _setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    for f in reversed(fields(Config)):
        flag = "--" + f.name.replace("_", "-")
        help_ = f"{f.metadata['help']} Default: JOBS_{f.name.upper()}" + (
            f", {f.default}." if f.default is not MISSING else "."
        )
        kind = {"int": int, "float": float}.get(str(f.type), str)
        command = click.option(flag, f.name, type=kind, help=help_)(command)
    return command


@main.command()
@click.argument("app")
@_setting_flags
@click.option("--log-level", default="INFO", show_default=True, help="What the worker says on standard error.")
@click.pass_obj
def worker(dsn: str, /, *, app: str, log_level: str, **settings: Any) -> None:
    """Run the jobs of APP, written as module:name, until SIGTERM or SIGINT.

    The first signal lets running handlers end and gives back what does not; a second one exits at once.
    """
    import importlib
    import logging

    import psycopg

    from runledger._link import brief
    from runledger.errors import RunledgerError
    from runledger.registry import Registry
    from runledger.supervisor import Supervisor, WorkerStoppedError, run

    logging.basicConfig(level=log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    module, _, name = app.partition(":")
    sys.path.insert(0, "")
    found = getattr(importlib.import_module(module), name or "app", None)
    if not isinstance(found, Registry):
        raise click.BadParameter(f"{name or 'app'!r} in {module!r} is no App", param_hint="APP")
    try:
        supervisor = Supervisor(found, dsn, config=Config.from_env(**settings))
        run(supervisor.run(signals=True))
    except (WorkerStoppedError, RunledgerError, psycopg.Error, ValueError) as error:
        click.echo(f"runledger: {brief(error)}", err=True)
        if isinstance(error, WorkerStoppedError | psycopg.Error):
            click.echo(
                "hint: check the DSN and the grants of its role; `runledger migrate --check` tells of the schema.",
                err=True,
            )
        sys.exit(1)


@main.command()
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


@main.command()
@click.option("--dsn", "here", help="A server to use; a database is made on it and dropped. Default: as for runledger.")
@click.option("--keep", is_flag=True, help="Leave the server (or the database) up and say how to remove it.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Index only N packages.")
@click.option("--no-live", is_flag=True, help="Print lines, also on a terminal.")
@click.pass_obj
def demo(dsn: str, /, *, here: str | None, keep: bool, limit: int | None, no_live: bool) -> None:
    """Show everything at work: index Python's standard library by a workflow, and read the ledger it leaves.

    Without a DSN an embedded PostgreSQL is started. Exit code 0 only if everything ended as told.
    """
    import psycopg

    from runledger import demo as d
    from runledger.embedded import EmbeddedError
    from runledger.errors import RunledgerError
    from runledger.migrate import MigrateError

    try:
        code = d.main(here or dsn, keep=keep, limit=limit, live=not no_live)
    except (d.DemoError, EmbeddedError, MigrateError, RunledgerError, psycopg.Error) as error:
        click.echo(f"runledger: {error}", err=True)
        sys.exit(1)
    sys.exit(code)
