"""`runledger grant`, `revoke`, `access`, `actions`: who may do what, and who did."""

from __future__ import annotations

from typing import Any

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._run import Run, verb
from runledger.cli.job import limit

KINDS = click.Choice(["producer", "worker", "operator", "observer"])


@click.command()
@click.argument("role_name", metavar="ROLE")
@click.argument("kind", type=KINDS)
@click.option("--type", "job_types", multiple=True, help="Only this job type; may be repeated.  [default: all]")
@verb
def grant(run: Run, /, *, role_name: str, kind: str, job_types: tuple[str, ...]) -> None:
    """Make ROLE a producer, worker, operator or observer."""
    run.record(run.call(_calls.grant_access(role_name, kind, job_types=list(job_types) or None)))


@click.command()
@click.argument("role_name", metavar="ROLE")
@click.argument("kind", type=KINDS, required=False)
@verb
def revoke(run: Run, /, *, role_name: str, kind: str | None) -> None:
    """Take KIND from ROLE, or all kinds."""
    run.rows(run.call(_calls.revoke_access(role_name, kind)), empty="the role had none")


@click.command()
@verb
def access(run: Run, /) -> None:
    """List which role may do what."""
    run.rows(run.call(_calls.view("access")), empty="nothing is granted")


@click.command()
@click.option("--role", "role_name", help="Done by this role.")
@click.option("--action", help="The function that was called.")
@click.option("--object", help="What it was done to: an id or a name.")
@click.option("--before", "before_action_id", type=int, help="Start before this action: the last of another page.")
@limit
@verb
def actions(run: Run, /, *, limit: int, before_action_id: int | None, **filters: Any) -> None:
    """List what operators did, newest first."""

    def page(rows: int, last: t.OperatorAction | None) -> _calls.Many[t.OperatorAction]:
        return _calls.list_operator_actions(
            **filters, before_action_id=last.id if last else before_action_id, max_rows=rows
        )

    found = run.pages(page, limit)
    run.rows(found, out.columns("id role~=role_name action~ object~ reason~ at=occurred_at"), empty="no such actions")
