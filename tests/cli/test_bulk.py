"""Changing many: asked first, told what would be, each by itself, and what was done is said."""

from __future__ import annotations

import json
import os
import pty
import re
import signal

import pytest

from runledger.cli import _run
from tests.cli.conftest import objects
from tests.cli.test_errors import process
from tests.functions.operations.test_prune import counted


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


def test_sql_only_prints_a_call_for_each(db, cli, waiting):
    result = cli("job", "cancel", *waiting, "--reason", "r", "--sql-only")
    assert result.exit_code == 0
    assert set(states(db)) == {"PENDING"}
    db.execute(result.stdout)
    assert set(states(db)) == {"CANCELED"}


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


# --- dead letters ---------------------------------------------------------------------------------


@pytest.fixture
def dead(db, clock) -> list[str]:
    """Five dead letters, an hour apart, of two codes; the last died an hour ago."""
    clock.advance(-5 * 3600)
    db.execute("select runledger.define_job('t', max_attempts => 1)")
    ids = []
    for number in range(5):
        ids.append(str(db.value("select job_id from runledger.enqueue_job('t')")))
        db.execute(
            "select runledger.fail_job(c.job_id, c.lease_token, %s, 'no') from runledger.claim_jobs('w', '{t}') as c",
            [f"code.{number % 2}"],
        )
        clock.advance(3600)
    return ids


def test_a_redrive_goes_on_until_nothing_is_left(db, cli, dead):
    result = cli("dlq", "redrive", "--reason", "smtp is back", "--batch", "2", "--yes", "--json", "--show-sql")
    assert [row["job_id"] for row in objects(result)] == dead
    assert result.stderr.count("redrive_dead_letters") == 4
    assert set(states(db)) == {"PENDING"}
    reasons = db.column("select distinct payload ->> 'reason' from runledger.job_events where event_type = 'REQUEUED'")
    assert reasons == ["smtp is back"]
    assert cli("dlq", "redrive", "--reason", "r", "--yes").stderr == "no such dead letters\n"


def test_a_redrive_takes_what_matches_and_no_more(db, cli, dead):
    result = cli("dlq", "redrive", "--reason", "r", "--yes", "--error-code", "code.0", "--limit", "2")
    assert result.stdout == "requeued 2\n"
    assert states(db) == ["PENDING", "DEAD_LETTERED", "PENDING", "DEAD_LETTERED", "DEAD_LETTERED"]


def test_a_dry_run_of_a_redrive_tells_what_it_would_take_and_rolls_back(db, cli, dead):
    before = db.value("select count(*) from runledger.job_events")
    result = cli("dlq", "redrive", "--reason", "r", "--dry-run", "--error-code", "code.1", "--json", "--show-sql")
    assert [row["job_id"] for row in objects(result)] == [dead[1], dead[3]]
    shown, said = result.stderr.splitlines()
    assert shown.startswith("begin; select * from runledger.redrive_dead_letters(reason => 'r', error_code => 'code.1'")
    assert shown.endswith("rollback;")
    assert said == "rolled back: 2 would be changed"
    assert set(states(db)) == {"DEAD_LETTERED"}
    assert db.value("select count(*) from runledger.job_events") == before


def test_what_dies_again_meanwhile_is_not_run_again(db, cli, dead, monkeypatch):
    """A worker that fails each job at once, between the batches."""
    run = _run.Run.call

    def failing(self, call):
        rows = run(self, call)
        db.execute(
            "select runledger.fail_job(c.job_id, c.lease_token, 'again', 'no')"
            " from runledger.claim_jobs('w', '{t}', 10) as c"
        )
        return rows

    monkeypatch.setattr(_run.Run, "call", failing)
    result = cli("dlq", "redrive", "--reason", "r", "--yes", "--batch", "2", "--json")
    assert [row["job_id"] for row in objects(result)] == dead
    assert set(states(db)) == {"DEAD_LETTERED"}


def test_an_interrupted_redrive_ends_after_a_whole_batch(db, cli, dead, monkeypatch):
    run = _run.Run.call

    def interrupted(self, call):
        if "redrive" in call.function and "PENDING" in states(db):
            raise KeyboardInterrupt
        return run(self, call)

    monkeypatch.setattr(_run.Run, "call", interrupted)
    result = cli("dlq", "redrive", "--reason", "r", "--yes", "--batch", "2")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == "interrupted: 2 requeued, they stay so\n"
    assert states(db).count("PENDING") == 2


def test_a_redrive_wants_a_reason_and_an_answer(db, cli, dead):
    assert cli("dlq", "redrive", "--yes").exit_code == 2
    asked = cli("dlq", "redrive", "--reason", "r")
    assert asked.exit_code == 2
    assert "requeue 5 dead letters?" in asked.stderr
    assert set(states(db)) == {"DEAD_LETTERED"}


def test_dead_letters_are_listed_by_age_and_code(cli, dead):
    def listed(*args):
        return [row["job_id"] for row in objects(cli("dlq", "list", "--json", *args))]

    assert listed() == dead[::-1]
    assert listed("--limit", "2") == dead[:2:-1]
    assert listed("--error-code", "code.1") == [dead[3], dead[1]]
    assert cli("dlq", "list", "--older-than", "1h", "--failed-before", "-1h").exit_code == 2


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_is_asked(db, dead, answer):
    """With a terminal as standard input and standard error."""
    ours, theirs = pty.openpty()
    started = process(db, "dlq", "redrive", "--reason", "r", stdin=theirs, stderr=theirs)
    os.close(theirs)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(ours, 1000)
    os.write(ours, answer.encode() + b"\n")
    told, _ = started.communicate()
    assert started.returncode == (0 if answer == "y" else 1)
    assert b"requeue 5 dead letters?" in said
    assert told == ("requeued 5\n" if answer == "y" else "")
    assert states(db).count("PENDING") == (5 if answer == "y" else 0)
    os.close(ours)


# --- prune ----------------------------------------------------------------------------------------


@pytest.fixture
def old(db, clock) -> None:
    """Seven jobs that were canceled an hour ago, and one now."""
    clock.advance(-3600)
    db.execute("select runledger.define_job('t')")
    for number in range(8):
        if number == 7:
            clock.advance(3600)
        db.execute("select runledger.cancel_job((runledger.enqueue_job('t')).job_id)")


def jobs(db) -> int:
    return db.value("select count(*) from runledger.job_queue")


def test_a_prune_goes_on_until_nothing_old_is_left(db, cli, old):
    counted(db)
    result = cli("prune", "--older-than", "30m", "--reason", "space", "--batch", "2", "--yes", "--show-sql")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("deleted ")
    assert result.stderr.count("runledger.prune(") >= 4
    assert jobs(db) == 1
    assert db.column("select reason from runledger.operator_actions where action = 'prune'") == ["space"]


def test_a_dry_run_of_a_prune_deletes_nothing(db, cli, old):
    counted(db)
    result = cli("prune", "--older-than", "30m", "--reason", "space", "--dry-run", "--json")
    assert sum(row["affected"] for row in objects(result)) >= 7
    assert jobs(db) == 8


def test_an_interrupted_prune_says_how_far_it_got(db, cli, old, monkeypatch):
    run = _run.Run.call
    calls = iter([False, True])

    def interrupted(self, call):
        if next(calls):
            raise KeyboardInterrupt
        return run(self, call)

    monkeypatch.setattr(_run.Run, "call", interrupted)
    counted(db)
    result = cli("prune", "--older-than", "30m", "--reason", "space", "--batch", "2", "--yes")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr.startswith("interrupted: deleted ")
    assert 1 < jobs(db) < 8


def test_a_prune_that_is_held_up_says_so(db, cli, old):
    """Events go only when the metrics have counted them, and those of open transactions cannot be counted."""
    blocker = db.connect(autocommit=False)
    blocker.execute("select pg_current_xact_id()")
    db.execute("select runledger.enqueue_job('t')")
    result = cli("prune", "--older-than", "30m", "--reason", "space", "--yes")
    assert (result.exit_code, result.stdout) == (1, "deleted nothing\n")
    assert "a transaction that is still open holds up" in result.stderr
    assert jobs(db) == 9
    blocker.rollback()
    # A transaction of another database holds it up, too.
    for _ in range(1000):
        result = cli("prune", "--older-than", "30m", "--reason", "space", "--yes")
        if result.exit_code == 0:
            break
    assert jobs(db) == 2
    assert "rollup" not in result.stdout


def test_a_prune_wants_a_reason_and_an_answer(db, cli, old):
    assert cli("prune", "--older-than", "30m", "--yes").exit_code == 2
    assert cli("prune", "--older-than", "30m", "--reason", "space").exit_code == 2
    assert cli("prune", "--reason", "space", "--yes").exit_code == 2
    assert jobs(db) == 8


def test_a_real_interrupt_ends_a_long_redrive_and_what_it_says_is_so(db):
    """SIGINT somewhere among a thousand batches; the one under way may be committed and not be counted."""
    db.execute("select runledger.define_job('t', max_attempts => 1)")
    db.execute("select runledger.enqueue_job('t') from generate_series(1, 1000)")
    db.execute(
        "select runledger.fail_job(c.job_id, c.lease_token, 'e.x', 'no') from runledger.claim_jobs('w', '{t}', 1000) as c"
    )
    pending = "select count(*) from runledger.job_queue where status = 'PENDING'"
    started = process(db, "dlq", "redrive", "--reason", "r", "--yes", "--batch", "1")
    while db.value(pending) < 5:
        assert started.poll() is None
    started.send_signal(signal.SIGINT)
    out, said = started.communicate()
    assert (started.returncode, out) == (130, "")
    told = int(re.fullmatch(r"interrupted: (\d+) requeued, they stay so\n", said)[1])
    assert 4 <= told < 1000
    assert db.value(pending) in (told, told + 1)
