"""Everything with psql alone: the life cycle as a script, refusals as they show, and a worker written in shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.psql import fleet
from tests.support.database import Db
from tests.support.psql import psql

HERE = Path(__file__).parent


def run(db: Db, script: str, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [psql(), "-X", "-q", *options, "-d", db.dsn, "-f", str(HERE / script)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.matrix
@pytest.mark.parametrize("options", [(), ("-1",)], ids=["autocommit", "one transaction"])
def test_the_whole_life_of_jobs_in_psql(db: Db, options: tuple[str, ...]):
    done = run(db, "life_cycle.sql", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (HERE / "life_cycle.out").read_text()


def test_a_refusal_says_in_psql_what_to_do(db: Db):
    done = run(db, "refusals.sql")
    assert done.returncode == 0
    assert done.stdout == (HERE / "refusals.out").read_text()
    *short, error, detail, hint = done.stderr.split("\nCONTEXT:")[0].split("\n")
    assert [line.split("ERROR:  ")[1] for line in short] == [
        "unknown or disabled job type", "a limit is out of range", "the idempotency key was used for another request",
        "no such job", "a JSON number is beyond what common decoders read", "claiming needs READ COMMITTED",
        "the job is not in a state that allows this",
    ]  # fmt: skip
    assert error.endswith("ERROR:  run_at is no instant within ten years")
    assert detail == 'DETAIL:  {"code": "job.invalid_run_at"}'
    assert hint == "HINT:  Give a timestamp with time zone."
    assert "secret" not in done.stderr


@pytest.fixture
def shell(db: Db, tmp_path: Path) -> fleet.Fleet:
    return fleet.Fleet(db, ["bash", str(HERE / "worker.sh")], {"PSQL": psql(), "DSN": db.dsn}, tmp_path)


def test_a_shell_worker_works_through_a_mixed_queue(shell: fleet.Fleet):
    fleet.works_through_a_mixed_queue(shell)


def test_a_shell_worker_works_through_a_workflow(shell: fleet.Fleet):
    fleet.works_through_a_workflow(shell)


@pytest.mark.chaos
def test_a_shell_worker_keeps_its_lease_and_loses_it_when_killed(shell: fleet.Fleet, tmp_path: Path):
    fleet.keeps_its_lease_and_loses_it_when_killed(shell, tmp_path / "hold")


def test_two_shell_workers_share_the_work(shell: fleet.Fleet):
    fleet.two_share_the_work(shell)
