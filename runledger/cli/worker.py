"""`runledger worker`: run jobs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import Any

import click

from runledger.cli._params import LEVEL, registry
from runledger.config import Config


def _setting_flags(command: Callable[..., None]) -> Callable[..., None]:
    for f in reversed(fields(Config)):
        flag = "--" + f.name.replace("_", "-")
        help_ = f"{f.metadata['help']} Default: JOBS_{f.name.upper()}" + (
            f", {f.default}." if f.default not in (MISSING, "") else "."
        )
        kind = {"int": int, "float": float}.get(str(f.type), str)
        command = click.option(flag, f.name, type=kind, help=help_)(command)
    return command


@click.command()
@click.argument("app")
@_setting_flags
@click.option(
    "--log-level", type=LEVEL, default="INFO", show_default=True, help="What the worker says on standard error."
)
@click.pass_obj
def worker(dsn: str, /, *, app: str, log_level: str, **settings: Any) -> None:
    """Run the jobs of APP, written as module:name, until SIGTERM or SIGINT.

    The first signal lets running handlers end and gives back what does not; a second one exits at once.
    """
    import logging

    import psycopg

    from runledger._link import brief
    from runledger.errors import RunledgerError
    from runledger.supervisor import Supervisor, WorkerStoppedError, run

    logging.basicConfig(level=log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    found = registry(app)
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
