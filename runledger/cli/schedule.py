"""`runledger schedule …`: what starts by the clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args
from uuid import UUID

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._params import JSON, SPAN, WHEN
from runledger.cli._run import Manual, Run, verb
from runledger.cli.job import limit, reason, tenant, yes

name = click.argument("name")


@click.group(cls=Manual)
def schedule() -> None:
    """Schedules: make, preview, pause, resume, delete."""


@schedule.command("upsert")
@name
@click.option("--cron", required=True, help="minute hour day month weekday, or @daily and its like.")
@click.option("--type", "job_type", help="The job type that it starts.")
@click.option("--workflow", "workflow_type", help="The workflow type that it starts, with --steps.")
@click.option("--steps", type=JSON, help="The steps: a JSON array, @FILE or -.")
@click.option("--timezone", help="The zone in which cron is read.  [default: UTC]")
@click.option("--payload", type=JSON, help="What each job gets: JSON, @FILE or -.")
@click.option("--jitter", "max_jitter_seconds", type=SPAN, help="Put each fire off by up to this much.")
@click.option("--missed", type=click.Choice(get_args(t.Missed), case_sensitive=False))
@click.option("--active/--inactive", "is_active", default=None)
@click.option("--next-fire-at", type=WHEN, help="Where its cursor stands.")
@click.option("--tenant", "organization_id", type=click.UUID, help="The organization whose jobs it starts.")
@verb
def upsert(run: Run, /, *, name: str, job_type: str | None, **given: Any) -> None:
    """Create the schedule NAME, or change it."""
    run.record(run.call(_calls.upsert_schedule(name, job_type, **given)))


@schedule.command("list")
@click.option("--contains", help="Names with this in them.")
@click.option("--type", "job_type", help="What starts this job type.")
@click.option("--active/--inactive", "is_active", default=None)
@tenant
@limit
@verb
def list_(run: Run, /, *, limit: int, **filters: Any) -> None:
    """List schedules by name."""

    def page(rows: int, last: t.ScheduleSummary | None) -> _calls.Many[t.ScheduleSummary]:
        return _calls.list_schedules(**filters, after_name=last.name if last else None, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, SCHEDULES, empty="no such schedules")


def _state(found: t.ScheduleSummary) -> str:
    if found.is_active:
        return "DEFERRED" if found.deferred_code else "active"
    return "PAUSED" if found.paused_at else "inactive"


SCHEDULES = out.columns(
    "name~ starts~ cron~=cron_expr timezone~ state next last=last_fired_at note~",
    starts=lambda s: s.job_type or s.workflow_type,
    state=_state,
    next=lambda s: s.due_at if s.is_active else None,
    note=lambda s: s.deferred_code if s.is_active else s.paused_reason,
)


@schedule.command("show")
@name
@click.option("--payload", "with_bodies", is_flag=True, help="Print payload and steps too.")
@tenant
@verb
def show(run: Run, /, *, name: str, with_bodies: bool, organization_id: UUID | None) -> None:
    """Show everything about a schedule."""
    found = run.found(run.call(_calls.get_schedule(name, organization_id)), "job_schedule.not_found")
    run.record(found, without="" if with_bodies else "payload steps")


@schedule.command("preview")
@name
@click.option("--fires", type=int, metavar="N", help="How many.  [default: 10]")
@verb
def preview(run: Run, /, *, name: str, fires: int | None) -> None:
    """Show its next fires, with local times."""
    run.rows(run.call(_calls.preview_schedule(name, fires)))


@schedule.command("pause")
@name
@reason
@verb
def pause(run: Run, /, *, name: str, reason: str | None) -> None:
    """Fire it no more until it is resumed."""
    run.record(run.call(_calls.pause_schedule(name, reason)))


@schedule.command("resume")
@name
@click.option("--next-fire-at", type=WHEN, help="Go on from this instant, also a past one.")
@verb
def resume(run: Run, /, *, name: str, next_fire_at: datetime | None) -> None:
    """Let it fire again."""
    run.record(run.call(_calls.resume_schedule(name, next_fire_at)))


@schedule.command("delete")
@name
@yes
@verb
def delete(run: Run, /, *, name: str, yes: bool) -> None:
    """Delete it; what it has started stays."""
    run.confirm("delete the schedule?", yes=yes)
    run.record(run.call(_calls.delete_schedule(name)))


@schedule.command("fire")
@click.option("--max", "max_schedules", type=int, metavar="N", help="Most schedules.  [default: 100]")
@verb
def fire(run: Run, /, *, max_schedules: int | None) -> None:
    """Start what is due; workers and maintenance do it by themselves."""
    run.rows(run.call(_calls.fire_due_schedules(max_schedules)), empty="nothing is due")


@schedule.command("next")
@click.argument("cron")
@click.option("--timezone", help="The zone in which it is read.  [default: UTC]")
@click.option("--after", type=WHEN, help="The first fire after this instant.  [default: now]")
@verb
def next_(run: Run, /, *, cron: str, timezone: str | None, after: datetime | None) -> None:
    """Say when a cron expression fires next."""
    run.value("next_fire_at", run.call(_calls.next_fire_at(cron, timezone, after=after)))
