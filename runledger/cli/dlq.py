"""`runledger dlq …`: jobs that failed for good."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import psycopg

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._params import SPAN, WHEN
from runledger.cli._run import PAGE, Manual, Run, verb
from runledger.cli.job import dry_run, limit, show, tenant, yes
from runledger.errors import RunledgerError

LETTERS = out.columns(
    "job_id job_type~ run=run_number attempt failed=failed_at state error~",
    state=lambda d: "DEAD" if d.is_dead else d.status,
    error=lambda d: f"{d.error_code}: {d.error_message}",
)


def matching(command: Any) -> Any:
    """Give a verb the options that choose dead letters."""
    for option in (
        click.option("--older-than", type=SPAN, help="Dead for at least this long: 2h, 3d."),
        click.option("--failed-before", type=WHEN),
        click.option("--failed-after", type=WHEN, help="-2h, or 2030-01-31T12:00:00Z."),
        click.option("--error-code", help="Exactly this code of its failure."),
        click.option("--type", "job_type", help="Exactly this job type."),
    ):
        command = option(command)
    return command


def _chosen(older_than: timedelta | None, given: dict[str, Any]) -> dict[str, Any]:
    if older_than is not None:
        if given["failed_before"] is not None:
            raise click.UsageError("--older-than and --failed-before exclude each other")
        try:
            given["failed_before"] = datetime.now(UTC) - older_than
        except OverflowError:
            raise click.UsageError("--older-than is longer than there are dates") from None
    return given


@click.group(cls=Manual)
def dlq() -> None:
    """Dead letters: look, and run them again in bulk. A single one: job show, job requeue."""


@dlq.command("list")
@matching
@click.option("--all", "everything", is_flag=True, help="Also those that were requeued since.")
@tenant
@limit
@verb
def list_(run: Run, /, *, limit: int, everything: bool, older_than: timedelta | None, **given: Any) -> None:
    """List dead letters, latest first."""
    filters: dict[str, Any] = {**_chosen(older_than, given), "is_dead": None if everything else True}

    def page(rows: int, last: t.DeadLetter | None) -> _calls.Many[t.DeadLetter]:
        after: dict[str, Any] = {"before_failed_at": last.failed_at, "before_id": last.job_id} if last else {}
        return _calls.list_dead_letters(**filters, **after, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, LETTERS, empty="no such dead letters")


dlq.add_command(show, "show")


@dlq.command("redrive")
@matching
@click.option("--reason", required=True, help="Why: it is kept with each event.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Most jobs.  [default: all that are dead now]")
@click.option("--batch", type=click.IntRange(1, PAGE), default=100, show_default=True, help="Jobs of one transaction.")
@dry_run
@yes
@verb
def redrive(
    run: Run,
    /,
    *,
    reason: str,
    limit: int | None,
    batch: int,
    dry_run: bool,
    yes: bool,
    older_than: timedelta | None,
    **given: Any,
) -> None:
    """Requeue dead letters, oldest failure first, in batches.

    What fails again meanwhile is not run again. Jobs of workflows and redacted ones are left out. --dry-run requeues
    one batch, prints it and rolls back. An interrupt ends it after the last whole batch and says how far it got.
    """
    given = _chosen(older_than, given)
    if dry_run:
        run.rolled_back(_calls.redrive_dead_letters(reason, **given, max_jobs=min(batch, limit or batch)))
        return
    if not run.sql_only:
        given["failed_before"] = given["failed_before"] or run.server_time()
        found = run.call(_calls.list_dead_letters(**given, is_dead=True, max_rows=PAGE))
        if not found:
            run.note("no such dead letters")
            return
        many = f"{PAGE} or more" if len(found) == PAGE else str(len(found))
        run.confirm(
            f"requeue {many} dead letters?" if limit is None else f"requeue up to {limit} of {many} dead letters?",
            yes=yes,
        )
    done = 0
    try:
        with run.progress("requeued", limit) as tick:
            while limit is None or done < limit:
                size = batch if limit is None else min(batch, limit - done)
                rows = run.call(_calls.redrive_dead_letters(reason, **given, max_jobs=size))
                done += len(rows)
                tick(len(rows))
                if run.as_json:
                    run.rows(rows)
                if not rows:
                    break
    except KeyboardInterrupt:
        run.note(f"interrupted: {done} requeued, they stay so")
        sys.exit(130)
    except (RunledgerError, psycopg.Error):
        if done:
            run.note(f"{done} requeued until then, they stay so")
        raise
    if not run.as_json:
        click.echo(f"requeued {done}")
