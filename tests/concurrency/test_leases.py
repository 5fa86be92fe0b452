"""Completions against the reaper, cancels, heartbeats and time itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.clock import Clock
from tests.support.interleave import Session
from tests.support.ledger import Ledger

Sessions = Callable[..., tuple[Session, ...]]
SUCCEED = "select * from runledger.succeed_job(%(job_id)s, %(lease_token)s)"
FINISH = (
    "select * from runledger.finish_jobs(jsonb_build_array(jsonb_build_object('job_id', %(job_id)s::uuid,"
    " 'lease_token', %(lease_token)s::bigint, 'outcome', 'SUCCEEDED')))"
)
FAIL = "select * from runledger.fail_job(%(job_id)s, %(lease_token)s, 'e', 'm')"
RELEASE = "select * from runledger.release_job(%(job_id)s, %(lease_token)s, 'r')"
PROGRESS = (
    "select * from runledger.report_progress(%(job_id)s, %(lease_token)s, done => 1, total => 2, checkpoint => '1')"
)
CONTINUE = "select * from runledger.continue_job(%(job_id)s, %(lease_token)s)"
BEAT = "select * from runledger.heartbeat_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint])"
START = "select * from runledger.start_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint])"
REAP = "select * from runledger.reap_expired_leases()"
CANCEL = "select * from runledger.cancel_job(%(job_id)s)"


def test_finish_first_then_reap(q: Ledger, clock: Clock, sessions: Sessions):
    lease = q.leased(lease_seconds=10)
    a, b = sessions("a", "b")
    a.begin().execute(SUCCEED, lease)
    clock.advance(11)
    pending = b.start(REAP)
    assert b.blocked() is False
    assert pending.result() == []
    a.commit()
    assert b.execute(REAP) == []
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED", "SUCCEEDED"]


def test_a_success_that_waited_ends_after_what_it_waited_for(q: Ledger, clock: Clock, sessions: Sessions):
    """However the worker says it: history is told in the order in which it was written."""
    lease = q.leased(lease_seconds=600)
    a, b = sessions("a", "b")
    a.begin().execute(BEAT, lease)
    pending = b.start(FINISH, lease)
    assert b.blocked(by=a)
    clock.advance(30)
    a.execute(PROGRESS, lease)
    a.commit()
    assert [r["disposition"] for r in pending.result()] == ["SUCCEEDED"]
    told = q.db.all("select event_type, occurred_at from runledger.job_events order by id")
    assert [e["event_type"] for e in told[2:]] == ["PROGRESS", "SUCCEEDED"]
    assert told[2]["occurred_at"] <= told[3]["occurred_at"]
    job = q.job(lease["job_id"])
    [attempt] = q.db.attempts(lease["job_id"])
    assert job["finished_at"] == attempt["finished_at"] == told[3]["occurred_at"] <= job["updated_at"]


def test_reap_first_then_finish(q: Ledger, clock: Clock, sessions: Sessions):
    lease = q.leased(lease_seconds=10)
    clock.advance(11)
    a, b = sessions("a", "b")
    assert [r["disposition"] for r in a.begin().execute(REAP)] == ["RETRY_SCHEDULED"]
    pending = b.start(SUCCEED, lease)
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.lease_owner_mismatch"):
        pending.result()
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED", "FAILED", "RETRY_SCHEDULED"]


def test_reap_rolled_back_then_finish(q: Ledger, clock: Clock, sessions: Sessions):
    lease = q.leased(lease_seconds=10)
    clock.advance(11)
    a, b = sessions("a", "b")
    a.begin().execute(REAP)
    pending = b.start(SUCCEED, lease)
    assert b.blocked(by=a)
    a.rollback()
    # Expired is expired, though nobody took it.
    with q.refused("job.lease_owner_mismatch"):
        pending.result()
    assert q.job(lease["job_id"])["status"] == "LEASED"


def test_two_reapers_share_the_work(q: Ledger, clock: Clock, sessions: Sessions):
    q.enqueue_many(4)
    q.claim(4, lease_seconds=1)
    clock.advance(2)
    a, b = sessions("a", "b")
    first = a.begin().execute("select job_id from runledger.reap_expired_leases(2)")
    pending = b.start("select job_id from runledger.reap_expired_leases(4)")
    assert b.blocked() is False
    second = pending.result()
    a.commit()
    assert len({r["job_id"] for r in first} | {r["job_id"] for r in second}) == len(first) + len(second) == 4


@pytest.mark.parametrize(
    "verb", [SUCCEED, FAIL, RELEASE, CONTINUE, PROGRESS], ids=["succeed", "fail", "release", "continue", "progress"]
)
def test_a_lease_that_runs_out_while_its_verb_waits_is_lost(q: Ledger, clock: Clock, sessions: Sessions, verb: str):
    lease = q.leased(lease_seconds=30)
    holder, worker = sessions("holder", "worker")
    holder.begin().execute("select from runledger.job_queue where id = %s for update", [lease["job_id"]])
    with q.unchanged():
        pending = worker.start(verb, lease)
        assert worker.blocked(by=holder)
        clock.advance(31)
        holder.commit()
        with q.refused("job.lease_owner_mismatch"):
            pending.result()


def test_a_start_whose_lease_runs_out_while_it_waits_is_lost(q: Ledger, clock: Clock, sessions: Sessions):
    lease = q.leased(lease_seconds=30, prestart=True)
    holder, worker = sessions("holder", "worker")
    holder.begin().execute("select from runledger.job_queue where id = %s for update", [lease["job_id"]])
    with q.unchanged():
        pending = worker.start(START, lease)
        assert worker.blocked(by=holder)
        clock.advance(31)
        holder.commit()
        assert [r["disposition"] for r in pending.result()] == ["LOST"]


def test_a_heartbeat_meets_a_finish(q: Ledger, sessions: Sessions):
    lease = q.leased()
    a, b = sessions("a", "b")
    before = q.job(lease["job_id"])["lease_expires_at"]
    a.begin().execute(SUCCEED, lease)
    pending = b.start(BEAT, lease)
    assert b.blocked() is False
    [row] = pending.result()
    # The row is being finished by its own worker: as far as anybody knows the lease is as it was.
    assert (row["disposition"], row["lease_expires_at"]) == ("EXTENDED", before)
    a.commit()
    assert b.execute(BEAT, lease)[0]["disposition"] == "LOST"
    # And the other way round: the finish waits for the beat, and wins.
    lease = q.leased()
    b.begin().execute(BEAT, lease)
    pending = a.start(SUCCEED, lease)
    assert a.blocked(by=b)
    b.commit()
    assert pending.result()[0]["disposition"] == "SUCCEEDED"


def test_a_heartbeat_saves_a_lease_from_the_reaper(q: Ledger, clock: Clock, sessions: Sessions):
    lease = q.leased(lease_seconds=10)
    clock.advance(9)
    a, b = sessions("a", "b")
    a.begin().execute(BEAT, lease)
    clock.advance(5)
    assert b.execute(REAP) == []
    a.commit()
    assert b.execute(REAP) == []
    assert q.succeed(lease)["disposition"] == "SUCCEEDED"


def test_finish_against_cancel(q: Ledger, sessions: Sessions):
    a, b = sessions("a", "b")
    lease = q.leased()
    a.begin().execute(SUCCEED, lease)
    pending = b.start(CANCEL, lease)
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.invalid_state_transition"):
        pending.result()
    lease = q.leased()
    b.begin().execute(CANCEL, lease)
    pending = a.start(
        "select * from runledger.finish_jobs(jsonb_build_array(jsonb_build_object('job_id', %(job_id)s::uuid, 'lease_token', %(lease_token)s::bigint, 'outcome', 'SUCCEEDED')))",
        lease,
    )
    assert a.blocked(by=b)
    b.commit()
    [row] = pending.result()
    assert (row["disposition"], row["code"], row["status"]) == ("LEASE_LOST", "job.canceled", "CANCELED")
    # A retry that is scheduled first can still be canceled.
    lease = q.leased()
    a.begin().execute(FAIL, lease)
    pending = b.start(CANCEL, lease)
    assert b.blocked(by=a)
    a.commit()
    assert pending.result()[0]["disposition"] == "CANCELED"
    assert q.db.events(lease["job_id"]) == ["ENQUEUED", "LEASED", "FAILED", "RETRY_SCHEDULED", "CANCELED"]


def test_a_completion_sent_twice_at_once_is_done_once(q: Ledger, sessions: Sessions):
    for verb in (SUCCEED, FAIL, RELEASE, CONTINUE):
        lease = q.leased()
        a, b = sessions(f"a{len(verb)}", f"b{len(verb)}")
        first = a.begin().execute(verb, lease)[0]
        pending = b.start(verb, lease)
        assert b.blocked(by=a)
        a.commit()
        second = pending.result()[0]
        assert (first["replayed"], second["replayed"]) == (False, True)
        assert second["disposition"] == first["disposition"]
        q.row("cancel_job", job_id=lease["job_id"]) if second["status"] == "PENDING" else None


def test_finishes_of_the_same_jobs_in_opposite_order_do_not_deadlock(q: Ledger, sessions: Sessions):
    jobs = [q.leased() for _ in range(6)]
    a, b, c = sessions("a", "b", "c")
    finish = (
        "select * from runledger.finish_jobs((select jsonb_agg(jsonb_build_object('job_id', j, 'lease_token', t, 'outcome', 'SUCCEEDED') order by n {})"
        " from unnest(%s::uuid[], %s::bigint[]) with ordinality as x(j, t, n)))"
    )
    params = [[x["job_id"] for x in jobs], [x["lease_token"] for x in jobs]]
    # Both come to wait in the middle, for the same row, with whatever they locked before it.
    c.begin().execute("select from runledger.job_queue where id = %s for update", [jobs[3]["job_id"]])
    first, second = a.start(finish.format("asc"), params), b.start(finish.format("desc"), params)
    assert a.blocked()
    assert b.blocked()
    c.commit()
    replayed = [sorted(r["replayed"] for r in p.result()) for p in (first, second)]
    assert sorted(replayed) == [[False] * 6, [True] * 6]


def test_heartbeats_and_reaping_wait_for_nobody(q: Ledger, clock: Clock, sessions: Sessions):
    jobs = [q.leased(lease_seconds=10) for _ in range(3)]
    holder, other = sessions("holder", "other")
    holder.begin().execute("select from runledger.job_queue where id = %s for update", [jobs[1]["job_id"]])
    ids, tokens = [x["job_id"] for x in jobs], [x["lease_token"] for x in jobs]
    pending = other.start("select * from runledger.heartbeat_jobs(%s::uuid[], %s::bigint[], 20)", [ids, tokens])
    assert other.blocked() is False
    assert [r["disposition"] for r in pending.result()] == ["EXTENDED"] * 3
    clock.advance(30)
    pending = other.start(REAP)
    assert other.blocked() is False
    assert {r["job_id"] for r in pending.result()} == {ids[0], ids[2]}
    holder.commit()
