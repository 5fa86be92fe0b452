"""`runledger migrate`: install or upgrade the schema."""

from __future__ import annotations

import sys

import click


@click.command()
@click.option("--check", is_flag=True, help="Change nothing. Exit code 0: current, 3: pending, 4: drifted.")
@click.option("--dry-run", is_flag=True, help="Do everything and roll back. Takes the same locks.")
@click.option("--print", "print_", is_flag=True, help="Print one script for an empty database: psql -1 -f.")
@click.option("--rollback-functions", is_flag=True, help="Replace the functions of a newer version by ours.")
@click.pass_obj
def migrate(dsn: str, *, check: bool, dry_run: bool, print_: bool, rollback_functions: bool) -> None:
    """Install or upgrade the schema, in one transaction."""
    import psycopg

    from runledger import migrate as m
    from runledger._link import brief

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
        click.echo(f"runledger: {error if error.sqlstate else brief(error)}", err=True)
        sys.exit(1)
    if check:
        click.echo(report.status.lower() + (f": {report.detail}" if report.detail else ""))
        sys.exit({"CURRENT": 0, "PENDING": 3, "DRIFTED": 4}[report.status])
