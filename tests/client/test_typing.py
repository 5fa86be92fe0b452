"""What a type checker tells the users of both clients: results are typed, wrong arguments are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import ROOT

RIGHT = """
from datetime import timedelta
from uuid import UUID
from runledger import AsyncClient, Client, Workflow
from runledger.types import ClaimedJob, EnqueuedJob, EnqueuedWorkflow, JobRecord, WorkflowStatus

def sync(client: Client, job_id: UUID) -> None:
    enqueued: EnqueuedJob = client.enqueue_job("t", {"n": 1}, timeout_seconds=timedelta(minutes=1))
    claimed: list[ClaimedJob] = client.claim_jobs("w", ["t"], max_jobs=10)
    record: JobRecord | None = client.get_job(job_id)
    known: bool = client.deregister_worker("w")
    wf = Workflow("w", result_step="b")
    a = wf.job("a", "t", timeout=timedelta(minutes=1))
    wf.job("b", "t", after=a, after_terminal=[wf.gate("g", timeout=5, on_timeout="FAILED")])
    run: EnqueuedWorkflow = client.enqueue_workflow(wf)
    run = client.enqueue_workflow("w", wf.steps, active_key="k")
    tree: list[str] = client.workflow_tree(run.workflow_run_id)
    status: WorkflowStatus = client.workflow(run.workflow_run_id).status()
    score: int = client.workflow(str(job_id)).result(timeout=None, poll=timedelta(seconds=5))

async def awaited(client: AsyncClient, job_id: UUID) -> None:
    enqueued: EnqueuedJob = await client.enqueue_job("t", {"n": 1})
    claimed: list[ClaimedJob] = await client.claim_jobs("w", ["t"], max_jobs=10)
    record: JobRecord | None = await client.get_job(str(job_id))
    known: bool = await client.deregister_worker("w")
    run: EnqueuedWorkflow = await client.enqueue_workflow(Workflow("w"), idempotency_key="k")
    drawing: str = await client.workflow_mermaid(run.workflow_run_id)
    status: WorkflowStatus = await client.workflow(job_id).status()
    score: int = await client.workflow(job_id).result(timeout=60)
"""
WRONG = """
from runledger import AsyncClient, Client, Workflow

def sync(client: Client) -> None:
    client.enqueue_job()
    client.enqueue_job(7)
    client.enqueue_job("t", {}, priorty=5)
    client.claim_jobs("w", ["t"], 5)
    client.get_job("x").status
    client.list_jobs(status="DONE")
    client.enqueue_workflow(7)
    client.complete_external_step("x", "g", outcome="DONE")
    client.workflow("x").result(timeout="5 s")
    Workflow("w").job("a", "t", after=7)
    Workflow("w").gate("g", on_timeout="DONE")

async def awaited(client: AsyncClient) -> None:
    (await client.get_job("x")).status
    client.enqueue_job("t").job_id
    client.workflow("x").result().real
"""


def checked(tmp_path: Path, text: str) -> list[int]:
    """The lines at which mypy --strict finds fault, counted from 1."""
    file = tmp_path / "user.py"
    file.write_text(text.lstrip())
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=", str(file)]
    result = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert not result.stderr, result.stderr
    lines = [line.split(":") for line in result.stdout.splitlines() if ": error:" in line]
    assert all(line[0].endswith("user.py") for line in lines), result.stdout
    return sorted({int(line[1]) for line in lines})


@pytest.mark.slow
def test_a_type_checker_knows_the_results(tmp_path: Path):
    assert checked(tmp_path, RIGHT) == []


@pytest.mark.slow
def test_a_type_checker_finds_each_mistake(tmp_path: Path):
    assert checked(tmp_path, WRONG) == [4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 18, 19]
