"""enable_job_type, disable_job_type, pause_job_type, resume_job_type."""

from __future__ import annotations

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger


def test_a_disabled_type_takes_no_new_jobs_and_runs_the_old_ones(q: Ledger):
    job_id = q.enqueue()
    row = q.row("disable_job_type", job_type="t", reason="moved away")
    assert (row["is_enabled"], row["disabled_reason"]) == (False, "moved away")
    with q.refused("job.definition_not_found_or_disabled", "RL002"):
        q.enqueue()
    [item] = q.rows("enqueue_jobs", jobs=[{"job_type": "t"}])
    assert (item["disposition"], item["code"]) == ("INVALID", "job.definition_not_found_or_disabled")
    assert q.ids() == [job_id]
    assert q.row("enable_job_type", job_type="t")["disabled_reason"] is None
    q.enqueue()


def test_a_paused_type_takes_new_jobs_and_runs_none(q: Ledger):
    running = q.leased()
    row = q.row("pause_job_type", job_type="t", reason="incident 7")
    assert (row["is_paused"], row["paused_reason"], row["is_enabled"]) == (True, "incident 7", True)
    waiting = q.enqueue()
    assert q.claim(10) == []
    assert q.succeed(running)["disposition"] == "SUCCEEDED"
    assert q.row("resume_job_type", job_type="t")["paused_reason"] is None
    assert q.ids(10) == [waiting]


def test_a_pause_stops_one_type_among_several(q: Ledger):
    q.define("u")
    q.enqueue("t", priority=500)
    other = q.enqueue("u")
    q.row("pause_job_type", job_type="t")
    assert q.ids(10, "t", "u") == [other]


def test_turning_a_switch_to_where_it_is_keeps_who_did_it(db: Db, q: Ledger, clock: Clock):
    for verb, column in (("pause_job_type", "paused"), ("disable_job_type", "disabled")):
        q.row(verb, job_type="t", reason="first")
        before = db.one("select * from runledger.job_definitions where job_type = 't'")
        clock.advance(60)
        assert q.row(verb, job_type="t", reason="second")[f"{column}_reason"] == "first"
        assert db.one("select * from runledger.job_definitions where job_type = 't'") == before


def test_a_switch_records_the_role_of_the_caller(db: Db, q: Ledger):
    q.row("pause_job_type", job_type="t")
    owner = q.conn.execute("select session_user::text").fetchone()[0]
    assert db.value("select paused_by from runledger.job_definitions where job_type = 't'") == owner


def test_switches_refuse_unknown_types_and_blank_reasons(q: Ledger):
    for verb in ("enable_job_type", "disable_job_type", "pause_job_type", "resume_job_type"):
        for name in ("nobody", None, "x" * 5000):
            with q.refused("job.definition_not_found", "RL001"):
                q.row(verb, job_type=name)
    for verb in ("disable_job_type", "pause_job_type"):
        for reason in ("", "  ", "x" * 8193):
            with q.refused("job.invalid_reason", "RL010"):
                q.row(verb, job_type="t", reason=reason)
    assert q.define()["is_enabled"] is True


@pytest.mark.parametrize(
    "verb", ["disable_job_type", "enable_job_type", "pause_job_type", "resume_job_type", "define_job"]
)
def test_a_switch_waits_as_long_as_its_caller_allows(q: Ledger, verb: str):
    """And no longer: the error keeps its SQLSTATE, and the switch stands where it stood."""
    # Each switch stands the other way, so that it must be turned.
    if verb in ("enable_job_type", "resume_job_type"):
        q.row({"enable_job_type": "disable_job_type", "resume_job_type": "pause_job_type"}[verb], job_type="t")
    before = q.db.all("select * from runledger.job_definitions")
    holder, waiter = q.on(), q.on()
    waiter.conn.execute("set lock_timeout = '50ms'")
    more = {"is_enabled": False} if verb == "define_job" else {}
    with holder.conn.transaction(force_rollback=True):
        holder.conn.execute("select from runledger.job_definitions where job_type = 't' for update")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            waiter.row(verb, job_type="t", **more)
        assert waiter.conn.execute("show lock_timeout").fetchone() == ("50ms",)
    assert q.db.all("select * from runledger.job_definitions") == before
    assert waiter.row(verb, job_type="t", **more)["job_type"] == "t"
