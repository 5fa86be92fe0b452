"""`runledger workflow …`: runs of graphs of steps."""

from __future__ import annotations

from typing import Any, get_args
from uuid import UUID

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._params import JSON, WHEN
from runledger.cli._run import Manual, Run, verb
from runledger.cli.job import limit, reason, tenant

RUNS = out.columns(
    "run=workflow_run_id type~=workflow_type status done failed=steps_failed waiting=steps_waiting started finished",
    done=lambda r: f"{r.steps_succeeded}/{r.steps_total}",
    started=lambda r: r.started_at,
    finished=lambda r: r.finished_at,
)
run_id = click.argument("workflow_run_id", metavar="RUN_ID", type=click.UUID)
steps = click.argument("steps", metavar="STEPS", type=JSON)


@click.group(cls=Manual)
def workflow() -> None:
    """Workflows: start, look, complete gates, cancel. STEPS is a JSON array, @FILE, or - for standard input."""


@workflow.command("list")
@click.option("--type", "workflow_type", help="Exactly this workflow type.")
@click.option("--status", type=click.Choice(get_args(t.WorkflowStatus), case_sensitive=False))
@click.option("--created-after", type=WHEN, help="-2h, or 2030-01-31T12:00:00Z.")
@click.option("--created-before", type=WHEN)
@click.option("--before", "before_id", type=click.UUID, help="Start after this run: the last of another page.")
@tenant
@limit
@verb
def list_(run: Run, /, *, limit: int, before_id: UUID | None, **filters: Any) -> None:
    """List runs, newest first."""

    def page(rows: int, last: t.WorkflowSummary | None) -> _calls.Many[t.WorkflowSummary]:
        return _calls.list_workflows(**filters, before_id=last.workflow_run_id if last else before_id, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, RUNS, empty="no such runs")


@workflow.command("enqueue")
@click.argument("workflow_type")
@steps
@click.option("--metadata", type=JSON)
@click.option("--key", "idempotency_key", help="Idempotency key: the same run again is EXISTING.")
@click.option("--active-key", help="One live run per key.")
@click.option("--result-step", help="The step whose output is the result.")
@click.option("--tenant", "organization_id", type=click.UUID, help="The organization whose run it is.")
@verb
def enqueue(run: Run, /, *, workflow_type: str, steps: Any, **given: Any) -> None:
    """Start a run of these steps."""
    run.record(run.call(_calls.enqueue_workflow(workflow_type, steps, **given)))


@workflow.command("show")
@run_id
@click.option("--payload", "with_bodies", is_flag=True, help="Print metadata and result too.")
@tenant
@verb
def show(run: Run, /, *, workflow_run_id: UUID, with_bodies: bool, organization_id: UUID | None) -> None:
    """Show a run and its steps as a tree."""
    calls = _calls.get_workflow(workflow_run_id, organization_id), _calls.workflow_tree(workflow_run_id)
    if run.sql_only:
        run.calls(*calls)
    found = run.found(run.call(calls[0]), "workflow.run_not_found")
    tree = run.call(calls[1])
    hidden = () if with_bodies else ("metadata", "result")
    if run.as_json:
        told = {k: v for k, v in out.plain(found).items() if k not in hidden}
        click.echo(out.json_line({**told, "tree": tree}))
    else:
        run.record(found, without=" ".join(hidden))
        click.echo()
        run.text("tree", tree)


@workflow.command("cancel")
@run_id
@reason
@tenant
@verb
def cancel(run: Run, /, *, workflow_run_id: UUID, **given: Any) -> None:
    """Cancel a run and all that is not finished in it."""
    run.record(run.call(_calls.cancel_workflow(workflow_run_id, **given)))


@workflow.command("complete")
@run_id
@click.argument("step_key")
@click.option("--outcome", type=click.Choice(get_args(t.StepOutcome), case_sensitive=False), default="SUCCEEDED")
@click.option("--output", type=JSON, help="What the gate hands on: JSON, @FILE or -.")
@click.option("--error-code")
@click.option("--error-message")
@reason
@tenant
@verb
def complete(run: Run, /, *, workflow_run_id: UUID, step_key: str, **given: Any) -> None:
    """Complete the gate STEP_KEY of a run."""
    run.record(run.call(_calls.complete_external_step(workflow_run_id, step_key, **given)))


@workflow.command("append")
@run_id
@click.argument("mutation_key")
@steps
@click.option("--window", "append_window", required=True, help="The open gate that allows it.")
@click.option("--metadata", type=JSON)
@tenant
@verb
def append(run: Run, /, *, workflow_run_id: UUID, mutation_key: str, **given: Any) -> None:
    """Add steps to a run while a gate waits, once per MUTATION_KEY."""
    run.rows(run.call(_calls.append_workflow_steps(workflow_run_id, mutation_key, **given)))


@workflow.command("result")
@run_id
@click.option("--payload", "with_bodies", is_flag=True, help="Print the result itself too.")
@tenant
@verb
def result(run: Run, /, *, workflow_run_id: UUID, with_bodies: bool, organization_id: UUID | None) -> None:
    """Say how a run stands and, with --payload, its result."""
    told = run.call(_calls.workflow_result(workflow_run_id, organization_id))
    if run.as_json:
        click.echo(out.json_line({k: v for k, v in out.plain(told).items() if with_bodies or k != "result"}))
    else:
        run.record(told, without="" if with_bodies else "result")


@workflow.command("mermaid")
@run_id
@verb
def mermaid(run: Run, /, *, workflow_run_id: UUID) -> None:
    """Draw a run as a Mermaid flowchart."""
    run.text("mermaid", run.call(_calls.workflow_mermaid(workflow_run_id)).split("\n"), cut=False)


@workflow.command("validate")
@steps
@verb
def validate(run: Run, /, *, steps: Any) -> None:
    """List everything that is wrong with these steps: exit code 1 if anything is."""
    if run.rows(run.call(_calls.validate_workflow(steps)), empty="the steps are sound"):
        raise click.exceptions.Exit(1)


@workflow.command("explain")
@steps
@verb
def explain(run: Run, /, *, steps: Any) -> None:
    """Say what would run when, and who could run it; starts nothing."""
    run.rows(run.call(_calls.explain_workflow(steps)))
