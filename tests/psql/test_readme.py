"""The README is run as it stands: its SQL by psql, its Python by Python, its jobs by a worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def its_roles(db):
    """The roles that the README tells its reader to create."""
    names = re.findall(r"create role (\w+);", (ROOT / "README.md").read_text())
    assert len(names) == 4
    for name in names:
        db.execute(f"create role {name}")
    yield
    for name in names:
        db.execute(f"drop owned by {name}")
        db.execute(f"drop role {name}")


@pytest.mark.usefixtures("its_roles")
def test_the_sql_of_the_readme_runs_in_one_session_of_psql(db, tmp_path):
    script = tmp_path / "readme.sql"
    script.write_text("\n".join(blocks("sql")))
    done = subprocess.run(
        ["psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", db.dsn, "-f", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert db.value("select count(*) from runledger.job_queue where status = 'SUCCEEDED'") == 1
    assert db.value("select count(*) from runledger.workflow_runs where status = 'RUNNING'") == 1
    assert db.column("select name from runledger.job_schedules") == ["nightly"]
    # The backfill fired each night of a week, one of which the clocks may have moved.
    nights = db.all("select scheduled_for from runledger.job_queue where job_type = 'report.build'")
    assert 6 <= len(nights) <= 8
    assert len({night["scheduled_for"] for night in nights}) == len(nights)
    assert len(db.all("select * from runledger.access")) == 4
    assert "replayed" in done.stdout
    assert "waits for crawl" in done.stdout
    assert re.search(r"JOB_TYPE .*invoice.send .*INSERTED", done.stdout)
    assert db.value("select count(*) from runledger.job_definitions where catalog is not null") == 0, "it was a dry run"


def test_the_python_of_the_readme_runs_beside_its_worker(db, tmp_path):
    jobs, enqueue, workflow, *_ = blocks("python")
    others = """
@app.job("crawl.page")
def crawl(job): return {"links": 3}

@app.job("score.page")
def score(job): return job.inputs["crawl"]["links"] * 2

@app.job("crawl.tidy")
def tidy(job): return None
"""
    (tmp_path / "jobs.py").write_text(jobs + others)
    with psycopg.connect(db.dsn, autocommit=True) as conn:
        conn.execute("create table customers (email text)")
    command = [sys.executable, "-m", "runledger", "--dsn", db.dsn, "worker", "jobs:app"]
    worker = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        until(db, "select count(*) = 1 from runledger.workers")
        names = {"dsn": db.dsn}
        exec(enqueue, names)  # noqa: S102 - that is the test
        exec(workflow, names)  # noqa: S102
        assert names["result"] == 6
        until(db, "select count(*) = 2 from runledger.job_queue where job_type = 'email.send' and status = 'SUCCEEDED'")
        assert db.value("select count(*) from runledger.job_attempts where error_code = 'smtp.busy'") == 2
        until(db, "select count(*) = 0 from runledger.job_queue where status in ('PENDING', 'LEASED')")
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def until(db, query: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not db.value(query):
        assert time.monotonic() < end, query
        time.sleep(0.05)
