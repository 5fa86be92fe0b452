"""The command line: each verb is a thin call of a SQL function or of a module, imported when it is used.

One module per noun; `_run` connects, runs calls and ends with an exit code, `_output` prints.
"""

from __future__ import annotations

import io
import os
import sys

import click

from runledger.cli import (
    access,
    bench,
    demo,
    dlq,
    docs,
    doctor,
    job,
    jobtype,
    metrics,
    migrate,
    retention,
    schedule,
    sync,
    top,
    upkeep,
    web,
    worker,
    workflow,
)
from runledger.cli._run import Manual, resolve_dsn

__all__ = ["main", "resolve_dsn"]


@click.group(cls=Manual, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--dsn", help="Connection string. Default: RUNLEDGER_DSN, DATABASE_URL, libpq's PG* variables.")
@click.version_option(package_name="runledger")
@click.pass_context
def main(ctx: click.Context, dsn: str | None) -> None:
    """Runledger: a durable job queue and workflow engine inside PostgreSQL.

    Each verb calls one SQL function or a few: --show-sql prints the calls, fit for psql, and runs them; --sql-only
    prints them and runs nothing. --json prints an object per line with every field of the SQL result type. Tables are
    cut to the screen, to 120 columns where there is none; instants are UTC. Payloads are printed by --payload alone.

    \b
    runledger enqueue email.send '{"to": "a@example.org"}' --key welcome:1
    runledger jobs --status DEAD_LETTERED --created-after -2h
    runledger job requeue 0190c3a4-0000-7000-8000-000000000001 --reason "smtp is back"
    runledger workflow show 0190c3a4-0000-7000-8000-000000000002
    runledger fsck --json

    \b
    Exit codes
      0    done, or nothing to report
      1    refused, not found, unreachable; findings (fsck, validate, sync); warnings (doctor)
      2    wrong usage; health: something is critical; doctor: unsafe
      3 4  migrate --check: pending, drifted
      130  interrupted: what was done is said, and stays done

    Errors go to standard error: message and code, detail, hint.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter shows a question mark
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
    ctx.obj = resolve_dsn(dsn)


main.sections = {
    "Jobs": [job.enqueue, job.jobs, job.job, dlq.dlq, jobtype.job_types],
    "Workflows and schedules": [workflow.workflow, schedule.schedule],
    "Operations": [
        upkeep.why,
        upkeep.health,
        upkeep.fsck,
        doctor.doctor,
        upkeep.workers,
        upkeep.maintenance,
        retention.retention,
        retention.prune,
        upkeep.schema,
        upkeep.limits,
        upkeep.errors,
    ],
    "Access": [access.grant, access.revoke, access.access, access.actions],
    "Programs": [
        migrate.migrate,
        sync.sync,
        worker.worker,
        top.top,
        web.web,
        metrics.metrics,
        bench.bench,
        demo.demo,
        docs.docs,
    ],
}
job.job.add_command(upkeep.why, "why")
for _commands in main.sections.values():
    for _command in _commands:
        main.add_command(_command)
