"""`runledger doctor`: is this a place where a queue can live?"""

from __future__ import annotations

from contextlib import closing
from functools import partial

import click

from runledger.cli import _output as out
from runledger.cli._run import Run, verb

CHECKS = out.columns("level code value~ explanation~")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Print what is well, too.")
@partial(verb, failure=2)
def doctor(run: Run, /, *, everything: bool) -> None:
    """Examine server, schema, access, logging, the path to it, and try the whole life of a job, rolled back.

    Exit code 0: fine, 1: warnings, 2: unsafe, or it cannot be told. What this role cannot see is a warning. --sql-only
    prints the queries, without the trial.
    """
    from runledger import doctor as d

    if run.sql_only:
        for query in d.QUERIES.values():
            click.echo(" ".join(query.split()) + ";")
        return
    examination = d.Doctor(run.dsn, lambda text: run.note(" ".join(text.split())) if run.show_sql else None)
    with closing(examination.connection):
        checks = list(examination.examine())
    shown = [c for c in checks if everything or run.as_json or c.level != "OK"]
    if run.as_json:
        run.rows(shown)
    else:
        run.rows(shown, CHECKS)
        if shown:
            click.echo()
        run.advice([c for c in shown if c.level != "OK"], lambda c: f"{c.level}  {c.code}: {c.value or 'unknown'}")
        well = sum(c.level == "OK" for c in checks)
        click.echo(f"{well} of {len(checks)} checks are fine")
    raise click.exceptions.Exit(d.exit_code(checks))
