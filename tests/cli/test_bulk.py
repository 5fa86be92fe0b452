"""Changing many: asked first, told what would be, each by itself, and what was done is said."""

from __future__ import annotations

import json

import pytest

from runledger.cli import _run
from tests.cli.conftest import objects


@pytest.fixture
def waiting(db) -> list[str]:
    db.execute("select runledger.define_job('t')")
    return [str(db.value("select job_id from runledger.enqueue_job('t')")) for _ in range(4)]


def states(db) -> list[str]:
    return db.column("select status::text from runledger.job_queue order by id")


def test_a_dry_run_shows_the_jobs_and_changes_nothing(db, cli, waiting):
    result = cli("job", "cancel", *waiting, "--dry-run", "--json")
    assert [row["job_id"] for row in objects(result)] == waiting
    assert result.stderr == "4 of 4 jobs are there; nothing was changed\n"
    assert set(states(db)) == {"PENDING"}


def test_ids_are_read_from_standard_input(db, cli, waiting):
    """As ids, or as objects that another verb printed; each once."""
    lines = [waiting[0], "", json.dumps({"job_id": waiting[1], "more": 1}), waiting[0]]
    result = cli("job", "cancel", "-", "--reason", "wrong list", "--yes", "--json", input="\n".join(lines))
    assert [(row["job_id"], row["disposition"]) for row in objects(result)] == [(i, "CANCELED") for i in waiting[:2]]
    assert states(db) == ["CANCELED", "CANCELED", "PENDING", "PENDING"]
    assert set(db.column("select status_reason from runledger.job_queue where status = 'CANCELED'")) == {"wrong list"}


@pytest.mark.parametrize("line", ["x", '{"id": 1}', '{"job_id": 3}', "{", "[]", "null"])
def test_what_is_no_id_is_refused_before_anything_is_changed(db, cli, waiting, line):
    result = cli("job", "cancel", "-", "--reason", "r", "--yes", input=f"{waiting[0]}\n{line}\n")
    assert result.exit_code == 2
    assert set(states(db)) == {"PENDING"}


def test_one_that_is_refused_does_not_stop_the_others(db, cli, waiting):
    db.execute("select runledger.cancel_job(%s)", [waiting[0]])
    unknown = "00000000-0000-0000-0000-000000000000"
    result = cli("job", "cancel", *waiting[:2], unknown, waiting[2], "--reason", "r", "--yes", "--json")
    assert result.exit_code == 1
    assert [row["disposition"] for row in objects(result)] == ["UNCHANGED", "CANCELED", "CANCELED"]
    assert result.stderr.startswith(f"{unknown}: no such job (job.not_found)")


def test_an_interrupt_says_how_far_it_got(db, cli, waiting, monkeypatch):
    """Between the second and the third."""
    calls = iter([False, False, True])
    run = _run.Run.call

    def interrupted(self, call):
        if next(calls):
            raise KeyboardInterrupt
        return run(self, call)

    monkeypatch.setattr(_run.Run, "call", interrupted)
    result = cli("job", "cancel", *waiting, "--reason", "r", "--yes", "--json")
    assert result.exit_code == 130
    assert result.stderr == "interrupted: 2 of 4 done, they stay done\n"
    assert states(db) == ["CANCELED", "CANCELED", "PENDING", "PENDING"]
