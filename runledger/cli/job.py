"""`runledger job …`, `jobs`, `enqueue`: single jobs and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args
from uuid import UUID

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._params import JSON, SPAN, WHEN, ids
from runledger.cli._run import Manual, Run, verb

BODIES = "payload checkpoint output"
JOBS = out.columns(
    "job_id job_type~ status run=run_number attempt progress~ due error~=last_error_code worker~=worker_id created",
    attempt=lambda j: f"{j.attempt}/{j.max_attempts}",
    progress=lambda j: f"{j.progress_pct:.0f}%" if j.progress_pct is not None else None,
    due=lambda j: j.next_run_at if j.status == "PENDING" else None,
    created=lambda j: j.created_at,
)
tenant = click.option("--tenant", "organization_id", type=click.UUID, help="Only what is this organization's.")
reason = click.option("--reason", help="Why: it is kept with the event.")
limit = click.option("--limit", type=click.IntRange(1), default=50, show_default=True, metavar="N", help="Most rows.")
yes = click.option("--yes", is_flag=True, help="Do not ask.")
dry_run = click.option("--dry-run", is_flag=True, help="Show what would be changed and change nothing.")
job_ids = click.argument("job_ids", metavar="JOB_ID...", nargs=-1, required=True, callback=ids)
job_id = click.argument("job_id", type=click.UUID)


@click.group(cls=Manual)
def job() -> None:
    """Single jobs: look, cancel, run again, mend.

    Where JOB_ID... stands, several may be given, and `-` reads them from standard input, also as objects of --json:

    \b
    runledger jobs --status PENDING --type email.send --json | runledger job cancel - --reason "wrong list" --yes
    """


@click.command("jobs")
@click.option("--type", "job_type", help="Exactly this job type.")
@click.option("--status", type=click.Choice(get_args(t.JobStatus), case_sensitive=False))
@click.option("--worker", "worker_id", help="Leased by this worker.")
@click.option("--created-after", type=WHEN, help="-2h, or 2030-01-31T12:00:00Z.")
@click.option("--created-before", type=WHEN)
@click.option("--before", "before_id", type=click.UUID, help="Start after this job: the last of another page.")
@tenant
@limit
@verb
def jobs(run: Run, /, *, limit: int, before_id: UUID | None, **filters: Any) -> None:
    """List jobs, newest first."""

    def page(rows: int, last: t.JobSummary | None) -> _calls.Many[t.JobSummary]:
        return _calls.list_jobs(**filters, before_id=last.job_id if last else before_id, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, JOBS, empty="no such jobs")


job.add_command(jobs, "list")


@click.command()
@click.argument("job_type")
@click.argument("payload", type=JSON, required=False)
@click.option("--key", "idempotency_key", help="Idempotency key: the same job again is EXISTING.")
@click.option("--at", "run_at", type=WHEN, help="Not before then: +15m, or 2030-01-31T12:00:00Z.")
@click.option("--priority", type=int, help="Larger is claimed first.")
@click.option("--max-attempts", type=int)
@click.option("--timeout", "timeout_seconds", type=SPAN, help="How long an attempt may take.")
@click.option("--stage", help="A word for where it stands.")
@click.option("--tenant", "organization_id", type=click.UUID, help="The organization whose job it is.")
@verb
def enqueue(run: Run, /, *, job_type: str, **arguments: Any) -> None:
    """Add a job. PAYLOAD is JSON, @FILE, or - for standard input.

    \b
    runledger enqueue email.send '{"to": "a@example.org"}' --key welcome:1
    """
    run.record(run.call(_calls.enqueue_job(job_type, **arguments)))


@job.command("show")
@job_id
@click.option("--payload", "with_bodies", is_flag=True, help="Print payload, checkpoint and output too.")
@tenant
@verb
def show(run: Run, /, *, job_id: UUID, with_bodies: bool, organization_id: UUID | None) -> None:
    """Show everything about a job, without its bodies unless --payload is given."""
    (found,) = run.calls(_calls.get_job(job_id, organization_id))
    found = run.found(found, "job.not_found")
    if run.as_json:
        click.echo(out.json_line({k: v for k, v in out.plain(found).items() if with_bodies or k not in BODIES.split()}))
    else:
        run.record(found, without="" if with_bodies else BODIES)


@job.command("payload")
@job_id
@verb
def payload(run: Run, /, *, job_id: UUID) -> None:
    """Print the payload, checkpoint and output of a job, whole."""
    found = run.found(run.call(_calls.job_payload(job_id)), "job.not_found")
    click.echo(json.dumps(out.plain(found), indent=None if run.as_json else 2))


def _several(name: str, summary: str) -> Callable[..., Any]:
    """A verb over one or more jobs that asks before it changes more than one."""

    def decorate(make: Callable[..., _calls.Call[Any]]) -> click.Command:
        @verb
        def command(
            run: Run, /, *, job_ids: list[UUID], yes: bool, dry_run: bool, reason: str | None, **given: Any
        ) -> None:
            if dry_run:
                tenant = given.get("organization_id")
                found = [job for i in job_ids for job in run.calls(_calls.get_job(i, tenant)) if job is not None]
                run.rows(found, JOBS, empty="no such jobs")
                run.note(f"{len(found)} of {len(job_ids)} jobs are there; nothing was changed")
                return
            if len(job_ids) > 1:
                if not reason:
                    raise click.UsageError("More than one job: say why, with --reason.")
                run.confirm(f"{name} {len(job_ids)} jobs?", yes=yes)
            if len(job_ids) == 1:
                run.record(run.call(make(job_ids[0], reason=reason, **given)))
                return
            run.each(job_ids, lambda i: make(i, reason=reason, **given), doing=name)

        command.__doc__ = summary
        for option in (dry_run, yes, reason, tenant, job_ids):
            command = option(command)
        return job.command(name, help=summary)(command)

    return decorate


_several("cancel", "Cancel jobs. A handler at work learns it at its next heartbeat.")(_calls.cancel_job)
_several("requeue", "Run dead-lettered or canceled jobs again, as their next run with fresh attempts.")(
    _calls.requeue_job
)


@job.command("replay")
@job_id
@click.option("--reason", required=True, help="Why: it is kept with the new job.")
@click.option("--request-key", required=True, help="The same key again copies nothing anew.")
@tenant
@verb
def replay(run: Run, /, *, job_id: UUID, request_key: str, **given: Any) -> None:
    """Copy a succeeded job into a new one."""
    run.record(run.call(_calls.replay_job(job_id, request_key, **given)))


@job.command("correct")
@job_id
@click.argument("payload", type=JSON)
@click.option("--reason", required=True, help="Why: it is kept with the event.")
@verb
def correct(run: Run, /, *, job_id: UUID, payload: Any, reason: str) -> None:
    """Replace the payload of a waiting job by PAYLOAD: JSON, @FILE, or - for standard input."""
    run.record(run.call(_calls.correct_payload(job_id, payload, reason=reason)))


@job.command("redact")
@job_id
@click.option("--reason", required=True, help="Why: it is kept with the event.")
@yes
@verb
def redact(run: Run, /, *, job_id: UUID, reason: str, yes: bool) -> None:
    """Erase payload, checkpoint and output of a finished job, for good."""
    run.confirm(f"erase the bodies of {job_id} for good?", yes=yes)
    run.record(run.call(_calls.redact_job(job_id, reason)))
