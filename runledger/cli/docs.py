"""`runledger docs`: the reference of the SQL side."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runledger.cli._run import told

FILES = {"markdown": "REFERENCE.md", "json": "reference.json"}


@click.command()
@click.option("--format", "format_", type=click.Choice(list(FILES)), default="markdown", show_default=True)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Write REFERENCE.md or reference.json there."
)
@click.pass_obj
def docs(dsn: str, /, *, format_: str, out: Path | None) -> None:
    """Print the reference: functions, views, results, errors, limits, codes.

    It is read from the database of --dsn, as the owner of the schema; without one from a fresh database on an
    embedded server. What a function locks, writes and raises is told as this program's own SQL files say.
    """
    import psycopg

    from runledger import reference as r
    from runledger.embedded import EmbeddedError
    from runledger.testing import ephemeral_database

    write = {"markdown": r.markdown, "json": r.as_json}[format_]
    try:
        if dsn or any(name in os.environ for name in ("PGHOST", "PGSERVICE", "PGDATABASE")):
            with psycopg.connect(dsn, autocommit=True, fallback_application_name="runledger-cli") as connection:
                text = write(r.read(connection))
        else:
            with ephemeral_database() as database, database.connect() as connection:
                text = write(r.read(connection))
    except (psycopg.Error, EmbeddedError) as error:
        told(error)
        sys.exit(1)
    if out is None:
        click.echo(text, nl=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / FILES[format_]).write_text(text, encoding="utf-8")
    click.echo(out / FILES[format_])
