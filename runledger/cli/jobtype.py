"""`runledger type …`: the kinds of jobs and how they are run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._params import JSON, SPAN
from runledger.cli._run import Manual, Run, verb
from runledger.cli.job import limit, reason, tenant

job_type = click.argument("job_type")


@click.group("type", cls=Manual)
def job_types() -> None:
    """Job types: define, pause, disable, settings of their handlers."""


TYPES = out.columns(
    "job_type~ state attempts=max_attempts timeout priority limit=max_concurrency updated=updated_at note~",
    state=lambda d: "DISABLED" if not d.is_enabled else "PAUSED" if d.is_paused else "enabled",
    timeout=lambda d: f"{d.timeout_seconds}s",
    note=lambda d: "; ".join(filter(None, [d.disabled_reason, d.paused_reason])),
)


@job_types.command("list")
@click.option("--contains", help="Names with this in them.")
@limit
@verb
def list_(run: Run, /, *, limit: int, contains: str | None) -> None:
    """List job types by name."""

    def page(rows: int, last: t.JobDefinition | None) -> _calls.Many[t.JobDefinition]:
        return _calls.list_job_definitions(contains, last.job_type if last else None, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, TYPES, empty="no such job types")


@job_types.command("show")
@job_type
@verb
def show(run: Run, /, *, job_type: str) -> None:
    """Show everything about a job type."""
    run.record(run.found(run.call(_calls.get_job_definition(job_type)), "job.definition_not_found"))


STATS = out.columns(
    "job_type~ pending=pending_count leased=leased_count stale=stale_leases done=succeeded_24h retried=retryable_24h"
    " failed dead=dead_lettered_24h p50_ms p95_ms",
    failed=lambda m: m.terminal_24h + m.panicked_24h + m.timeout_24h,
    p50_ms=lambda m: out.plain(m.p50_duration_ms_24h),
    p95_ms=lambda m: out.plain(m.p95_duration_ms_24h),
)


@job_types.command("stats")
@click.argument("job_type", required=False)
@tenant
@verb
def stats(run: Run, /, *, job_type: str | None, organization_id: UUID | None) -> None:
    """Say what waits and runs of each type, or of one, and what became of its jobs in the last 24 hours."""
    run.rows(run.call(_calls.job_metrics(job_type, organization_id)), STATS, empty="no such job types")


@job_types.command("define")
@job_type
@click.option("--version", type=int)
@click.option("--max-attempts", type=int)
@click.option("--timeout", "timeout_seconds", type=SPAN, help="How long an attempt may take.")
@click.option("--priority", type=int, help="Larger is claimed first.")
@click.option("--max-concurrency", type=int, help="Jobs at once, over all workers; 0 lifts the limit.")
@click.option("--retry-base", "retry_base_ms", type=SPAN, help="Wait before the second attempt; it doubles.")
@click.option("--retry-max", "retry_max_ms", type=SPAN, help="The longest wait.")
@click.option("--retry-delays", "retry_delays_ms", type=JSON, help="JSON: error code to milliseconds.")
@click.option("--enabled/--disabled", "is_enabled", default=None)
@verb
def define(run: Run, /, *, job_type: str, version: int | None, **given: Any) -> None:
    """Create JOB_TYPE or change it; what is not given stays."""
    for name in ("retry_base_ms", "retry_max_ms"):
        if given[name] is not None:
            given[name] = round(given[name].total_seconds() * 1000)
    run.record(run.call(_calls.define_job(job_type, version, **given)))


@job_types.command("pause")
@job_type
@reason
@verb
def pause(run: Run, /, *, job_type: str, reason: str | None) -> None:
    """Stop claiming it; new jobs are accepted and wait."""
    run.record(run.call(_calls.pause_job_type(job_type, reason)))


@job_types.command("resume")
@job_type
@verb
def resume(run: Run, /, *, job_type: str) -> None:
    """Let it be claimed again."""
    run.record(run.call(_calls.resume_job_type(job_type)))


@job_types.command("disable")
@job_type
@reason
@verb
def disable(run: Run, /, *, job_type: str, reason: str | None) -> None:
    """Refuse new jobs of it; queued ones still run."""
    run.record(run.call(_calls.disable_job_type(job_type, reason)))


@job_types.command("enable")
@job_type
@verb
def enable(run: Run, /, *, job_type: str) -> None:
    """Accept new jobs of it again."""
    run.record(run.call(_calls.enable_job_type(job_type)))


@job_types.command("configs")
@click.option("--contains", help="Types with this in their names.")
@limit
@verb
def configs(run: Run, /, *, limit: int, contains: str | None) -> None:
    """List the types that have settings of their handlers."""

    def page(rows: int, last: t.RuntimeConfigSummary | None) -> _calls.Many[t.RuntimeConfigSummary]:
        return _calls.list_runtime_configs(contains, last.job_type if last else None, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, empty="no type has settings")


@job_types.command("config")
@job_type
@click.option("--set", "config", type=JSON, help="Store these settings: JSON, @FILE or -.")
@click.option("--schema-version", type=int, help="Of what is stored.")
@verb
def config(run: Run, /, *, job_type: str, config: Any, schema_version: int | None) -> None:
    """Read the settings that its handlers read at run time, or store them."""
    if config is None:
        found = run.call(_calls.runtime_config(job_type))
    else:
        found = run.call(_calls.set_runtime_config(job_type, config, schema_version=schema_version))
    run.record(found)
