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
@click.option("--contains", help="Types with this in their name.")
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
    calls = (
        _calls.get_workflow(workflow_run_id, organization_id),
        _calls.workflow_tree(workflow_run_id, organization_id),
    )
    if run.sql_only:
        run.calls(*calls)
    found = run.found(run.call(calls[0]), "workflow.run_not_found")
    tree = run.call(calls[1])
    hidden = "" if with_bodies else "metadata result"
    if run.as_json:
        told = {k: v for k, v in out.plain(found).items() if k not in hidden.split()}
        click.echo(out.json_line({**told, "tree": tree}))
    else:
        run.record(found, without=hidden)
        click.echo()
        run.text("tree", tree)


STEPS = out.columns(
    "ordinal step_key~ status job_type~ job=job_id pending error~=last_error_code finished=finished_at",
    pending=lambda s: s.dependency_count_pending or None,
)


@workflow.command("steps")
@run_id
@tenant
@limit
@verb
def steps_(run: Run, /, *, workflow_run_id: UUID, limit: int, organization_id: UUID | None) -> None:
    """List the steps of a run, prerequisites first."""

    def page(rows: int, last: t.WorkflowStepSummary | None) -> _calls.Many[t.WorkflowStepSummary]:
        after = last.ordinal if last else None
        return _calls.list_workflow_steps(workflow_run_id, after, max_rows=rows, organization_id=organization_id)

    found = run.pages(page, limit)
    run.rows(found, STEPS, empty="no such steps")


@workflow.command("step")
@run_id
@click.argument("step_key")
@click.option("--payload", "with_bodies", is_flag=True, help="Print payload and output too.")
@tenant
@verb
def step(run: Run, /, *, workflow_run_id: UUID, step_key: str, with_bodies: bool, organization_id: UUID | None) -> None:
    """Show everything about one step."""
    found = run.call(_calls.get_workflow_step(workflow_run_id, step_key, organization_id=organization_id))
    run.found(found, "workflow.external_step_not_found")
    run.record(found, without="" if with_bodies else "payload output")


@workflow.command("edges")
@run_id
@tenant
@limit
@verb
def edges(run: Run, /, *, workflow_run_id: UUID, limit: int, organization_id: UUID | None) -> None:
    """List which step waits for which."""

    def page(rows: int, last: t.WorkflowEdge | None) -> _calls.Many[t.WorkflowEdge]:
        after = (last.dependent_ordinal, last.prerequisite_ordinal) if last else (None, None)
        return _calls.list_workflow_edges(
            workflow_run_id,
            after[0],
            after_prerequisite=after[1],
            max_rows=rows,
            organization_id=organization_id,
        )

    found = run.pages(page, limit)
    shape = out.columns("step~=dependent_key mode=release_mode waits_for~=prerequisite_key status=prerequisite_status")
    run.rows(found, shape, empty="no step waits for another")


@workflow.command("appends")
@run_id
@tenant
@limit
@verb
def appends(run: Run, /, *, workflow_run_id: UUID, limit: int, organization_id: UUID | None) -> None:
    """List what was appended to a run while it ran, oldest first."""

    def page(rows: int, last: t.WorkflowMutation | None) -> _calls.Many[t.WorkflowMutation]:
        after = (last.created_at, last.mutation_key) if last else (None, None)
        return _calls.list_workflow_mutations(
            workflow_run_id,
            after[0],
            after_key=after[1],
            max_rows=rows,
            organization_id=organization_id,
        )

    found = run.pages(page, limit)
    shape = out.columns("key~=mutation_key window~=append_window steps step_keys~ at=created_at")
    run.rows(found, shape, empty="nothing was appended")


@workflow.command("find")
@click.argument("workflow_type")
@click.argument("idempotency_key", metavar="KEY")
@click.option("--tenant", "organization_id", type=click.UUID, help="The organization whose key it is.  [default: none]")
@verb
def find(run: Run, /, *, workflow_type: str, idempotency_key: str, organization_id: UUID | None) -> None:
    """Find the run of an idempotency key."""
    found = run.call(_calls.find_workflow(workflow_type, idempotency_key, organization_id=organization_id))
    run.record(run.found(found, "workflow.run_not_found"))


@workflow.command("why")
@run_id
@tenant
@verb
def why(run: Run, /, *, workflow_run_id: UUID, organization_id: UUID | None) -> None:
    """Say why a run is not done, step by step, and what would help."""
    reasons = run.call(_calls.why_workflow(workflow_run_id, organization_id))
    run.advice(reasons, lambda r: f"{r.rank}  {r.code}  {r.step_key or 'the run'}")


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
    run.record(told, without="" if with_bodies else "result")


@workflow.command("mermaid")
@run_id
@tenant
@verb
def mermaid(run: Run, /, *, workflow_run_id: UUID, organization_id: UUID | None) -> None:
    """Draw a run as a Mermaid flowchart."""
    run.text("mermaid", run.call(_calls.workflow_mermaid(workflow_run_id, organization_id)).split("\n"), cut=False)


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
