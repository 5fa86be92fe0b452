"""The README is run as it stands: its SQL by psql, its Python by Python, its jobs by a worker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

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
    assert "why.type_paused" in done.stdout
    assert re.search(r"email.send .* smtp.busy ", done.stdout), "the dead letter"
    assert db.value("select count(*) from runledger.job_queue where run_number = 2") == 1
    assert "waits for crawl" in done.stdout
    assert re.search(r"JOB_TYPE .*invoice.send .*INSERTED", done.stdout)
    assert db.value("select count(*) from runledger.job_definitions where catalog is not null") == 0, "it was a dry run"


def test_the_script_for_teams_without_python_is_installed_whole_or_fails(db, empty_db, tmp_path):
    (line,) = re.findall(r"`(runledger migrate --print .*)`", (ROOT / "README.md").read_text())
    # Who looks around in psql likes it to go on after an error: half of the script would be committed.
    (tmp_path / ".psqlrc").write_text("\\set ON_ERROR_ROLLBACK on\n")
    program = f'runledger() {{ "{sys.executable}" -m runledger "$@"; }}; {line}'

    def run(dsn: str) -> int:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "RUNLEDGER_DSN": dsn}
        return subprocess.run(["sh", "-c", program], cwd=tmp_path, env=env, capture_output=True, check=False).returncode

    assert run(empty_db.dsn) == 0
    assert empty_db.value("select count(*) from runledger.health()") > 0
    assert run(db.dsn) != 0, "there is one already"


def test_the_python_of_the_readme_runs_beside_its_worker(db, tmp_path, monkeypatch):
    handlers = [block for block in blocks("python") if block.startswith("# jobs.py")]
    enqueue, workflow = (block for block in blocks("python") if "with Client.connect(dsn)" in block)
    assert len(handlers) == 3
    (tmp_path / "jobs.py").write_text("\n".join(handlers))
    monkeypatch.setenv("RUNLEDGER_DSN", db.dsn)
    command = [sys.executable, "-m", "runledger", "worker", "jobs:app"]
    worker = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        until(db, "select count(*) = 1 from runledger.workers")
        names: dict[str, object] = {}
        exec(enqueue, names)  # noqa: S102 - that is the test
        exec(workflow, names)  # noqa: S102
        assert names["result"] == 6
        until(db, "select count(*) = 2 from runledger.job_queue where job_type = 'email.send' and status = 'SUCCEEDED'")
        assert db.value("select count(*) from runledger.job_attempts where error_code = 'smtp.busy'") == 2
        until(db, "select count(*) = 0 from runledger.job_queue where status in ('PENDING', 'LEASED')")
        assert db.column("select name from runledger.job_schedules") == ["nightly"]
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_the_test_of_the_readme_passes(db, tmp_path):
    (example,) = (block for block in blocks("python") if "def test_" in block)
    (tmp_path / "test_example.py").write_text(example)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "runledger.testing", "--rootdir", tmp_path, tmp_path]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RUNLEDGER_DSN": db.admin_dsn}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_every_block_of_python_is_run():
    told = [b for b in blocks("python") if not b.startswith("# jobs.py") and "def test_" not in b]
    assert all("with Client.connect(dsn)" in block for block in told)


def test_it_stays_a_tour():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 430, "details go to sql/README.md and sql/OPERATIONS.md"
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= anchors
    for link in re.findall(r"\]\(([\w./]+)(?:#[\w-]+)?\)", text):
        assert (ROOT / link).exists(), link


def until(db, query: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not db.value(query):
        assert time.monotonic() < end, query
        time.sleep(0.05)
