"""`runledger demo`: everything at work."""

from __future__ import annotations

import sys

import click


@click.command()
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
    from runledger._link import brief
    from runledger.embedded import EmbeddedError
    from runledger.errors import RunledgerError
    from runledger.migrate import MigrateError

    try:
        code = d.main(here or dsn, keep=keep, limit=limit, live=not no_live)
    except (d.DemoError, EmbeddedError, MigrateError, RunledgerError, psycopg.Error) as error:
        click.echo(f"runledger: {brief(error) if isinstance(error, psycopg.Error) else error}", err=True)
        sys.exit(1)
    sys.exit(code)
