"""`runledger prune`, `retention`: how long what is finished is kept."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import timedelta
from typing import Any

import click
import psycopg

from runledger import _calls
from runledger.cli._params import SPAN
from runledger.cli._run import Run, verb
from runledger.cli.job import dry_run, yes
from runledger.errors import RunledgerError


@click.command()
@click.option("--older-than", type=SPAN, required=True, help="Finished at least this long ago: 2w, 90d.")
@click.option("--dead-letters-older-than", type=SPAN, help="For dead letters.  [default: as retention says]")
@click.option("--reason", required=True, help="Why: it is kept with the actions of operators.")
@click.option("--batch", "max_rows", type=int, help="Rows of one transaction.  [default: 10000]")
@dry_run
@yes
@verb
def prune(run: Run, /, *, older_than: timedelta, dry_run: bool, yes: bool, **given: Any) -> None:
    """Delete old finished jobs and runs, in batches, until none is left.

    Maintenance does so by itself, by what retention says. --dry-run deletes one batch and rolls back. An interrupt
    ends it after the last whole batch and says how far it got. Exit code 1: another session prunes, or an open
    transaction holds up the counting of what is to go.
    """
    call = _calls.prune(older_than, **given)
    if dry_run:
        run.rolled_back(call)
        return
    run.confirm(f"delete what finished more than {older_than} ago, for good?", yes=yes)
    done: Counter[str] = Counter()
    more, began, held = True, False, False
    try:
        with run.progress("deleted", None) as tick:
            while more:
                reports = run.call(call)
                began = began or bool(reports)
                more = any(report.more for report in reports)
                # What is counted for the metrics before it may go is not deleted yet.
                deleted = {report.task: report.affected for report in reports if report.task != "rollup"}
                held = bool(reports) and not deleted
                done.update(deleted)
                tick(sum(deleted.values()))
                if run.as_json:
                    run.rows(reports)
    except KeyboardInterrupt:
        run.note(f"interrupted: {_told(done)}")
        sys.exit(130)
    except (RunledgerError, psycopg.Error):
        if done:
            run.note(f"until then: {_told(done)}")
        raise
    if not began:
        run.note("another session prunes")
        raise click.exceptions.Exit(1)
    if not run.as_json:
        click.echo(_told(done))
    if held:
        run.note("the rest waits to be counted in the metrics, which a transaction that is still open holds up")
        raise click.exceptions.Exit(1)


def _told(done: Counter[str]) -> str:
    return "deleted " + (", ".join(f"{affected} by {task}" for task, affected in done.items()) or "nothing")


@click.command()
@click.option("--finished", type=SPAN, help="Keep what is finished for so long; 0 is for ever.")
@click.option("--dead-letters", type=SPAN, help="Keep dead letters for so long; 0 is for ever.")
@click.option("--history", type=SPAN, help="Keep events and logs for so long; 0 is for ever.")
@verb
def retention(run: Run, /, **given: timedelta | None) -> None:
    """Say how long what is finished is kept, or set it."""
    setting = any(span is not None for span in given.values())
    kept = run.call(_calls.set_retention(**given) if setting else _calls.retention())
    run.record(kept)
    if not run.as_json and timedelta(0) in (kept.finished, kept.dead_letters, kept.history):
        run.note("0:00:00 is for ever")
