"""`runledger why`, `health`, `fsck`, `maintenance`, `workers`, `schema`, `limits`, `errors`: the state of the whole."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import click

from runledger import _calls
from runledger import types as t
from runledger.cli import _output as out
from runledger.cli._run import PAGE, Run, verb
from runledger.cli.job import limit, tenant

WORKERS = out.columns("worker~=worker_id state leases max=max_jobs types~=job_types role~=role_name seen=last_seen_at")
HEALTH = out.columns(
    "level code value explanation~",
    value=lambda c: None if c.value is None else f"{out.plain(c.value)} {c.unit}".rstrip(),
)
FINDINGS = out.columns("invariant severity object~ detail~")


@click.command()
@click.option("--until-done", is_flag=True, help="Go on until nothing more is to be done.")
@verb
def maintenance(run: Run, /, *, until_done: bool) -> None:
    """Do a piece of upkeep: reap, fire, time gates out, look after partitions.

    Workers do it by themselves. Nothing is printed if another caller is at it.
    """
    reports = run.call(_calls.run_maintenance())
    run.rows(reports)
    while until_done and any(report.more for report in reports):
        reports = run.call(_calls.run_maintenance())
        run.rows(reports)


@click.command()
@click.argument("job_id", type=click.UUID)
@tenant
@verb
def why(run: Run, /, *, job_id: UUID, organization_id: UUID | None) -> None:
    """Say why a job is not running, or what it is doing, and what would help. Of a run: workflow why."""
    run.advice(run.call(_calls.why(job_id, organization_id)), lambda r: f"{r.rank}  {r.code}")


@click.command()
@click.option("--all", "everything", is_flag=True, help="Explain what is well, too.")
@partial(verb, failure=2)
def health(run: Run, /, *, everything: bool) -> None:
    """Say whether it is well and what is about to hurt: exit code 2 if anything is CRIT.

    Also 2 if it cannot be told, for example because there is no connection. WARN alone is 0.
    """
    checks = run.call(_calls.health())
    if run.as_json:
        run.rows(checks)
    else:
        run.rows(checks, HEALTH)
        click.echo()
        run.advice([c for c in checks if everything or c.level != "OK"], lambda c: f"{c.level}  {c.code}")
    if any(check.level == "CRIT" for check in checks):
        raise click.exceptions.Exit(2)


@click.command()
@click.option("--scope", type=click.Choice(["full", "fast"]), help="fast: cheap at any size.  [default: full]")
@click.option("--run", "workflow_run_id", type=click.UUID, help="Only what belongs to this workflow run.")
@click.option("--limit", "max_rows", type=click.IntRange(1, PAGE), help="Most rows per invariant.  [default: 100]")
@verb
def fsck(run: Run, /, *, scope: str | None, workflow_run_id: UUID | None, max_rows: int | None) -> None:
    """Check every invariant of the ledger: exit code 1 if one is violated."""
    findings = run.call(_calls.fsck(scope, workflow_run_id, max_rows=max_rows))
    if run.as_json:
        run.rows(findings)
    else:
        _told(run, findings)
    if findings:
        raise click.exceptions.Exit(1)


def _told(run: Run, findings: list[t.FsckFinding]) -> None:
    run.rows(findings, FINDINGS, empty="the ledger is sound")
    repairs = dict.fromkeys(f.repair for f in findings if f.repair)
    if repairs:
        # Whole, since they are to be run.
        click.echo("\nrepairs, for the owner of the schema:")
        for repair in repairs:
            click.echo("  " + out.escaped(repair))


@click.command()
@verb
def errors(run: Run, /) -> None:
    """List every error with its SQLSTATE and what to do."""
    run.rows(run.call(_calls.error_codes()), out.columns("code sqlstate message~ hint~"))


@click.command()
@verb
def schema(run: Run, /) -> None:
    """Say which version of the schema is installed."""
    run.record(run.call(_calls.schema_info()))


@click.command()
@click.option("--type", "job_type", help="Who handles this job type.")
@limit
@verb
def workers(run: Run, /, *, limit: int, job_type: str | None) -> None:
    """List who works here: registered workers, and others that hold leases."""

    def page(rows: int, last: t.WorkerRecord | None) -> _calls.Many[t.WorkerRecord]:
        return _calls.list_workers(job_type, last.worker_id if last else None, max_rows=rows)

    found = run.pages(page, limit)
    run.rows(found, WORKERS, empty="nobody has registered and nobody holds a lease")


@click.command()
@verb
def limits(run: Run, /) -> None:
    """List every limit: beyond it a call is refused."""
    run.rows(run.call(_calls.view("limits")))
