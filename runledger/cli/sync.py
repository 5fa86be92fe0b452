"""`runledger sync`: make the database what an app says, exactly."""

from __future__ import annotations

import json
from typing import Any

import click

from runledger.cli import _output as out
from runledger.cli._params import registry
from runledger.cli._run import Run, verb


def _changes(row: Any) -> str:
    return ", ".join(
        f"{name} {json.dumps(was['old'])} -> {json.dumps(was['new'])}" if was else name
        for name, was in sorted(row.changes.items())
    )


SHAPE = out.columns("kind name~ action changes~ code", changes=_changes)


@click.command()
@click.argument("app")
@click.option("--dry-run", is_flag=True, default=None, help="Tell what would change, and change nothing.")
@click.option("--strict", is_flag=True, default=None, help="Refuse all if one entry is refused.")
@verb
def sync(run: Run, /, *, app: str, dry_run: bool | None, strict: bool | None) -> None:
    """Make the job types and schedules of APP, written as module:name, exactly what its code says.

    What its catalog listed once and lists no more is disabled or paused; what an operator disabled or paused stays
    so. The table leaves out what is unchanged. Exit code 1: an entry was refused, the others are in place.
    """
    try:
        call = registry(app).sync_call(dry_run=dry_run, strict=strict)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="APP") from error
    rows = run.call(call)
    run.rows([r for r in rows if run.as_json or r.action != "UNCHANGED"], SHAPE, empty="everything is as listed")
    if any(row.action == "REFUSED" for row in rows):
        raise click.exceptions.Exit(1)
