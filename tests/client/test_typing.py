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
from runledger import AsyncClient, Client
from runledger.types import ClaimedJob, EnqueuedJob, JobRecord

def sync(client: Client, job_id: UUID) -> None:
    enqueued: EnqueuedJob = client.enqueue_job("t", {"n": 1}, timeout_seconds=timedelta(minutes=1))
    claimed: list[ClaimedJob] = client.claim_jobs("w", ["t"], max_jobs=10)
    record: JobRecord | None = client.get_job(job_id)
    known: bool = client.deregister_worker("w")

async def awaited(client: AsyncClient, job_id: UUID) -> None:
    enqueued: EnqueuedJob = await client.enqueue_job("t", {"n": 1})
    claimed: list[ClaimedJob] = await client.claim_jobs("w", ["t"], max_jobs=10)
    record: JobRecord | None = await client.get_job(str(job_id))
    known: bool = await client.deregister_worker("w")
"""
WRONG = """
from runledger import AsyncClient, Client

def sync(client: Client) -> None:
    client.enqueue_job()
    client.enqueue_job(7)
    client.enqueue_job("t", {}, priorty=5)
    client.claim_jobs("w", ["t"], 5)
    client.get_job("x").status
    client.list_jobs(status="DONE")

async def awaited(client: AsyncClient) -> None:
    (await client.get_job("x")).status
    client.enqueue_job("t").job_id
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
    assert checked(tmp_path, WRONG) == [4, 5, 6, 7, 8, 9, 12, 13]
