"""The command line: each verb is a thin call of a SQL function or of a module, imported when it is used.

One module per noun; `_run` connects, runs calls and ends with an exit code, `_output` prints.
"""

from __future__ import annotations

import click

from runledger.cli import bench, demo, migrate, worker
from runledger.cli._run import resolve_dsn

__all__ = ["main", "resolve_dsn"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--dsn", help="Connection string. Default: RUNLEDGER_DSN, DATABASE_URL, libpq's PG* variables.")
@click.version_option(package_name="runledger")
@click.pass_context
def main(ctx: click.Context, dsn: str | None) -> None:
    """Runledger: a durable job queue and workflow engine inside PostgreSQL."""
    ctx.obj = resolve_dsn(dsn)


for _command in (migrate.migrate, worker.worker, bench.bench, demo.demo):
    main.add_command(_command)
