"""`runledger job …`, `jobs`, `enqueue`: single jobs and what became of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from operator import itemgetter
from typing import Any, get_args
from uuid import UUID

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._params import JSON, SPAN, WHEN, ids
from runledger.cli._run import PAGE, Manual, Run, verb

BODIES = "payload checkpoint output"


def _when(found: t.JobSummary) -> str:
    told = {"PENDING": ("due", found.next_run_at), "LEASED": ("till", found.lease_expires_at)}
    word, instant = told.get(found.status, ("", found.finished_at))
    return f"{word} {out.shown(instant)}".strip()


def _note(found: t.JobSummary) -> str | None:
    return found.worker_id if found.status == "LEASED" else found.last_error_code or found.status_reason


JOBS = out.columns(
    "job_id job_type~ status attempt done when note~",
    attempt=lambda j: f"{j.attempt}/{j.max_attempts}" + (f" run {j.run_number}" if j.run_number > 1 else ""),
    done=lambda j: f"{j.progress_pct:.0f}%" if j.progress_pct is not None else None,
    when=_when,
    note=_note,
)
STATES = out.columns("job_id job_type~ status run=run_number attempt error~=last_error_code")
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
@click.option("--contains", help="Types with this in their name.")
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
@click.option(
    "--rows", type=click.IntRange(0, PAGE), default=100, show_default=True, help="Latest lines of its history."
)
@tenant
@verb
def show(run: Run, /, *, job_id: UUID, with_bodies: bool, rows: int, organization_id: UUID | None) -> None:
    """Show a job and its history: attempts, events and log, without its bodies unless --payload is given."""
    look: dict[str, Any] = {"max_rows": rows, "organization_id": organization_id}
    history: list[_calls.Call[Any]] = [
        _calls.list_job_attempts(job_id, before_run=2**31 - 1, before_attempt=2**31 - 1, **look),
        _calls.list_job_events(job_id, before_event_id=2**63 - 1, **look),
        _calls.list_job_logs(job_id, before_log_id=2**63 - 1, **look),
    ]
    found, *lists = run.calls(_calls.get_job(job_id, organization_id), *(history if rows else []))
    found = run.found(found, "job.not_found")
    attempts, events, logs = [list(reversed(some)) for some in lists] or ([], [], [])
    if run.as_json:
        told = {k: v for k, v in out.plain(found).items() if with_bodies or k not in BODIES.split()}
        click.echo(out.json_line({**told, "attempts": attempts, "events": events, "logs": logs}))
        return
    run.record(found, without="" if with_bodies else BODIES)
    for title, some, shape in (("attempts", attempts, ATTEMPTS), ("history", _merged(events, logs), HISTORY)):
        if some:
            click.echo(f"\n{title}")
            run.rows(some, shape)
    if rows in (len(attempts), len(events), len(logs)):
        run.note(f"the latest {rows} of each: see job attempts, job events, job logs")


def _merged(events: list[t.JobEventRecord], logs: list[t.JobLogRecord]) -> list[Any]:
    # A line of the log stands before what happened at the same instant: the handler wrote it.
    both = [((e.occurred_at, 1, e.event_id), e) for e in events]
    both += [((line.occurred_at, 0, line.log_id), line) for line in logs]  # type: ignore[misc]
    return [line for _, line in sorted(both, key=itemgetter(0))]


def _happened(line: Any) -> str:
    return f"[{line.level}] {line.message}" if isinstance(line, t.JobLogRecord) else str(line.event_type)


def _detail(line: Any) -> object:
    return (line.detail or None) if isinstance(line, t.JobEventRecord) else None


def _has(line: t.JobLogRecord) -> str | None:
    return "yes" if line.has_payload else None


ATTEMPTS = out.columns(
    "run=run_number attempt worker~=worker_id leased=leased_at finished=finished_at disposition outcome error~ next",
    error=lambda a: f"{a.error_code}: {a.error_message}" if a.error_code else None,
    next=lambda a: a.effective_next_run_at,
)
HISTORY = out.columns("at=occurred_at run=run_number attempt what~ detail~", what=_happened, detail=_detail)
EVENTS = out.columns("event=event_id at=occurred_at run=run_number attempt event_type stage~ detail~")
LOGS = out.columns("log=log_id at=occurred_at run=run_number attempt level message~ payload", payload=_has)


@job.command("attempts")
@job_id
@tenant
@limit
@verb
def attempts(run: Run, /, *, job_id: UUID, limit: int, organization_id: UUID | None) -> None:
    """List its attempts, oldest first."""

    def page(rows: int, last: t.JobAttemptRecord | None) -> _calls.Many[t.JobAttemptRecord]:
        after: dict[str, Any] = {"after_run": last.run_number, "after_attempt": last.attempt} if last else {}
        return _calls.list_job_attempts(job_id, **after, max_rows=rows, organization_id=organization_id)

    found = run.pages(page, limit)
    run.rows(found, ATTEMPTS, empty="it was never claimed")


@job.command("events")
@job_id
@click.option("--after", "after_event_id", type=int, help="Start after this event.")
@tenant
@limit
@verb
def events(run: Run, /, *, job_id: UUID, limit: int, after_event_id: int | None, organization_id: UUID | None) -> None:
    """List its events, oldest first."""

    def page(rows: int, last: t.JobEventRecord | None) -> _calls.Many[t.JobEventRecord]:
        after = last.event_id if last else after_event_id
        return _calls.list_job_events(job_id, after, max_rows=rows, organization_id=organization_id)

    found = run.pages(page, limit)
    run.rows(found, EVENTS, empty="no events")


@job.command("logs")
@job_id
@click.option("--after", "after_log_id", type=int, help="Start after this line.")
@click.option("--payload", "with_bodies", is_flag=True, help="Print the JSON of the lines too.")
@tenant
@limit
@verb
def logs(
    run: Run, /, *, job_id: UUID, limit: int, after_log_id: int | None, with_bodies: bool, organization_id: UUID | None
) -> None:
    """List what it logged, oldest first."""

    def page(rows: int, last: t.JobLogRecord | None) -> _calls.Many[t.JobLogRecord]:
        after = last.log_id if last else after_log_id
        return _calls.list_job_logs(job_id, after, max_rows=rows, organization_id=organization_id)

    found = list(run.pages(page, limit))
    if not with_bodies:
        run.rows(found, LOGS, empty="it logged nothing")
        return
    bodies: dict[int, Any] = {}
    ids_ = [line.log_id for line in found if line.has_payload]
    for start in range(0, len(ids_), PAGE):
        some = run.call(_calls.job_log_payloads(job_id, ids_[start : start + PAGE], organization_id=organization_id))
        bodies.update((line.log_id, line.payload) for line in some)
    rows = [{**out.plain(line), "payload": bodies.get(line.log_id)} for line in found]
    run.rows(rows, out.columns("log=log_id run=run_number attempt level message~ payload~"), empty="it logged nothing")


@job.command("find")
@click.argument("job_type")
@click.argument("idempotency_key", metavar="KEY")
@click.option("--tenant", "organization_id", type=click.UUID, help="The organization whose key it is.  [default: none]")
@verb
def find(run: Run, /, *, job_type: str, idempotency_key: str, organization_id: UUID | None) -> None:
    """Find the job of an idempotency key."""
    found = run.call(_calls.find_job(job_type, idempotency_key, organization_id=organization_id))
    run.record(run.found(found, "job.not_found"))


@job.command("payload")
@job_id
@tenant
@verb
def payload(run: Run, /, *, job_id: UUID, organization_id: UUID | None) -> None:
    """Print the payload, checkpoint and output of a job, whole."""
    found = run.found(run.call(_calls.job_payload(job_id, organization_id)), "job.not_found")
    click.echo(json.dumps(out.plain(found), indent=None if run.as_json else 2))


def _several(name: str, summary: str) -> Callable[..., Any]:
    """A verb over one or more jobs that asks before it changes more than one."""

    def decorate(make: Callable[..., _calls.Call[Any]]) -> click.Command:
        @verb
        def command(
            run: Run, /, *, job_ids: list[UUID], yes: bool, dry_run: bool, reason: str | None, **given: Any
        ) -> None:
            if dry_run:
                found = run.call(_calls.job_statuses(job_ids, given.get("organization_id")))
                run.rows(found, STATES, empty="no such jobs")
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
