"""What makes a lease yours, part by part: the status, the job, the token, the instant. One wrong part is enough.

(The fifth part, the role, is in functions/access/test_fence.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.flows import Flows, step
from tests.support.ledger import NOBODY, Ledger

MOMENT = timedelta(microseconds=1)
Lease = dict[str, Any]


def finishing(outcome: str, **fields: Any) -> Callable[[Ledger, Lease], bool]:
    return lambda q, x: q.finish_one(x, outcome, **fields)["disposition"] != "LEASE_LOST"


def logged(q: Ledger, lease: Lease) -> bool:
    entry = {"job_id": str(lease["job_id"]), "lease_token": lease["lease_token"], "level": "info", "message": "m"}
    return q.row("log_jobs", entries=[entry])["disposition"] == "STORED"


VERBS: dict[str, Callable[[Ledger, Lease], Any]] = {
    "start_jobs": lambda q, x: q.start(x) == ["STARTED"],
    "heartbeat_jobs": lambda q, x: q.beat(x) == ["EXTENDED"],
    "report_progress": lambda q, x: q.row("report_progress", **x, done=1),
    "log_job": lambda q, x: q.row("log_job", **x, level="info", message="m"),
    "log_jobs": logged,
    "leased_jobs": lambda q, x: x in [{k: r[k] for k in x} for r in q.rows("leased_jobs", worker_id="w1")],
    "succeeded": finishing("SUCCEEDED"),
    "succeeded with a failure": lambda q, x: q.finish(
        {**x, "outcome": "SUCCEEDED"}, {**x, "lease_token": 10**9, "outcome": "FAILED", "error_code": "e.x"}
    )[0]["disposition"] != "LEASE_LOST",
    "failed": finishing("FAILED", error_code="e.x"),
    "continued": finishing("CONTINUE"),
    "released": finishing("RELEASE", reason="r"),
}  # fmt: skip


def accepted(verb: str, q: Ledger, lease: Lease) -> bool:
    try:
        return bool(VERBS[verb](q, lease))
    except psycopg.Error as error:
        if error.sqlstate != "RL003":
            raise
        return False


def leases(q: Ledger, of: str, n: int) -> list[Lease]:
    if of == "job":
        q.enqueue_many(n)
    else:
        steps = [{"key": f"s{i}", "job_type": "t", "allow_continuation": True} for i in range(n)]
        q.row("enqueue_workflow", workflow_type="w", steps=steps)
    return [{k: c[k] for k in ("job_id", "lease_token")} for c in q.claim(n, prestart=True)]


@pytest.mark.parametrize("of", ["job", "step"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_lease_ends_at_the_instant_that_it_names(q: Ledger, clock: Clock, verb: str, of: str):
    clock.stop()
    early, late = leases(q, of, 2)
    clock.advance(timedelta(seconds=60) - MOMENT)
    assert accepted(verb, q, early)
    clock.advance(MOMENT)
    with q.unchanged():
        assert not accepted(verb, q, late)


@pytest.mark.parametrize("of", ["job", "step"])
@pytest.mark.parametrize("verb", VERBS)
def test_the_token_of_another_live_lease_is_a_wrong_token(q: Ledger, verb: str, of: str):
    one, other = leases(q, of, 2)
    with q.unchanged():
        assert not accepted(verb, q, {**one, "lease_token": other["lease_token"]})
        assert not accepted(verb, q, {**other, "lease_token": one["lease_token"]})
    assert accepted(verb, q, one)
    assert accepted(verb, q, other)


@pytest.mark.parametrize("verb", list(VERBS)[:6])
def test_a_canceled_job_keeps_its_token_and_yields_no_lease(q: Ledger, verb: str):
    """Until its handler says that it is quiet; see test_finish_jobs for that word."""
    one, other = leases(q, "job", 2)
    q.row("cancel_job", job_id=one["job_id"])
    assert q.job(one["job_id"])["lease_token"] == one["lease_token"]
    with q.unchanged():
        assert not accepted(verb, q, one)
    assert accepted(verb, q, other)


def test_a_locked_row_is_told_as_it_was_up_to_the_same_instant(q: Ledger, clock: Clock):
    """A heartbeat does not wait: of a row that somebody is changing it tells what it can see."""
    clock.stop()
    lease, canceled = leases(q, "job", 2)
    stale = {**lease, "lease_token": lease["lease_token"] + 100}
    q.row("cancel_job", job_id=canceled["job_id"])
    asked = [lease, stale, canceled]

    def beat() -> list[tuple[Any, Any]]:
        ids, tokens = [x["job_id"] for x in asked], [x["lease_token"] for x in asked]
        return [(r["disposition"], r["lease_expires_at"]) for r in q.rows("heartbeat_jobs", job_ids=ids, lease_tokens=tokens)]

    clock.advance(timedelta(seconds=60) - MOMENT)
    until = q.job(lease["job_id"])["lease_expires_at"]
    with q.db.connect(autocommit=False) as rival:
        rival.execute("select from runledger.job_queue for update")
        assert beat() == [("EXTENDED", until), ("LOST", None), ("CANCELED", None)]
        clock.advance(MOMENT)
        assert beat() == [("LOST", None), ("LOST", None), ("CANCELED", None)]


def test_the_reaper_takes_over_a_moment_after_the_instant(q: Ledger, clock: Clock):
    """At the instant itself nobody holds the lease, and nobody has ended it."""
    clock.stop()
    (lease,) = leases(q, "job", 1)
    clock.advance(60)
    assert q.reap() == []
    assert q.beat(lease) == ["LOST"]
    clock.advance(MOMENT)
    [ended] = q.reap()
    assert ended["job_id"] == lease["job_id"]


def test_a_slot_is_free_at_the_instant(q: Ledger, clock: Clock):
    q.define("t", max_concurrency=1)
    clock.stop()
    leases(q, "job", 1)
    waiting = q.enqueue()
    clock.advance(timedelta(seconds=60) - MOMENT)
    assert q.ids() == []
    clock.advance(MOMENT)
    assert q.ids() == [waiting]


def test_a_canceled_handler_counts_as_at_work_up_to_the_instant(q: Ledger, clock: Clock):
    clock.stop()
    early, late = leases(q, "job", 2)
    clock.advance(timedelta(seconds=60) - MOMENT)
    q.row("cancel_job", job_id=early["job_id"])
    assert q.job(early["job_id"])["lease_token"] == early["lease_token"]
    with q.refused("job.cancellation_not_quiesced", "RL021"):
        q.row("requeue_job", job_id=early["job_id"])
    clock.advance(MOMENT)
    q.row("cancel_job", job_id=late["job_id"])
    assert q.job(late["job_id"])["lease_token"] is None
    assert q.row("requeue_job", job_id=early["job_id"])["disposition"] == "REQUEUED"


def test_the_instant_ends_it_for_those_who_look(q: Ledger, clock: Clock):
    clock.stop()
    early, late, working = leases(q, "job", 3)
    until = q.row("cancel_job", job_id=early["job_id"])["lease_quiesces_at"]
    clock.advance(timedelta(seconds=60) - MOMENT)

    def seen() -> list[Any]:
        state = "select runledger._job_state(q.status, q.lease_expires_at, null, 1, runledger._now()) from runledger.job_queue q where id = %s"
        prunable = "select runledger._is_prunable(q, 'infinity', 'infinity', runledger._now()) from runledger.job_queue q where id = %s"
        return [
            q.db.value(state, [early["job_id"]]), q.db.value(state, [working["job_id"]]), q.db.value(prunable, [early["job_id"]])
        ]  # fmt: skip

    assert seen() == ["stopping", "running", False]
    clock.advance(MOMENT)
    assert seen() == ["canceled", "lost", True]
    assert until == clock.now()
    assert q.row("cancel_job", job_id=early["job_id"])["lease_quiesces_at"] is None
    assert q.row("cancel_job", job_id=late["job_id"])["lease_quiesces_at"] is None


def test_a_canceled_run_holds_its_key_and_its_rows_up_to_the_instant(q: Ledger, clock: Clock):
    """As long as a handler of it may be at work; what other runs and jobs do is nothing to it."""
    clock.stop()
    q.leased(lease_seconds=3600)
    run = Flows(q)(step("a"), step("b"), active_key="k")
    a = run.lease("a")
    run.cancel()
    marked = "select runledger._mark_runs(array[%s::uuid], 'infinity', 'infinity', runledger._now())"
    clock.advance(timedelta(seconds=60) - MOMENT)
    q.db.execute(marked, [run.id])
    assert (run.run["active_key_held"], run.run["pruned_at"]) == (True, None)
    clock.advance(MOMENT)
    # The other one has not said anything, and nobody has looked since.
    q.finish_one(a, "SUCCEEDED")
    assert not run.run["active_key_held"]
    q.db.execute(marked, [run.id])
    assert run.run["pruned_at"] is not None


def test_a_token_of_the_past_is_a_wrong_token(q: Ledger):
    released, canceled = leases(q, "job", 2)
    q.release(released, delay=timedelta(hours=1))
    q.row("cancel_job", job_id=canceled["job_id"])
    wrong = {**canceled, "lease_token": canceled["lease_token"] + 100}
    with q.unchanged():
        for lease in (released, wrong):
            assert (q.beat(lease), q.start(lease)) == (["LOST"], ["LOST"])
            for verb in ("report_progress", "log_job"):
                with q.refused("job.lease_owner_mismatch"):
                    VERBS[verb](q, lease)
            assert not logged(q, lease)
        for lease in ({**released, "lease_token": wrong["lease_token"]}, wrong):
            told = q.finish_one(lease, "RELEASE", reason="r")
            assert (told["disposition"], told["code"]) == ("LEASE_LOST", "job.lease_owner_mismatch")
            # Not even what is wrong with it: it is not theirs to send.
            told = q.finish_one(lease, "SUCCEEDED", done=-1)
            assert (told["disposition"], told["code"]) == ("LEASE_LOST", "job.lease_owner_mismatch")
        assert q.finish_one(released, "RELEASE", reason="r")["replayed"]
    # What came after it makes it no less done.
    q.row("cancel_job", job_id=released["job_id"])
    told = q.finish_one(released, "RELEASE", reason="r")
    assert (told["disposition"], told["replayed"], told["status"]) == ("RELEASED", True, "CANCELED")


def test_inputs_are_for_a_live_lease_of_that_token(q: Ledger, clock: Clock):
    clock.stop()
    one, other, canceled = leases(q, "step", 3)

    q.row("cancel_job", job_id=canceled["job_id"])
    for lease in (canceled, {**one, "lease_token": other["lease_token"]}):
        with q.refused("job.lease_owner_mismatch", "RL003"):
            q.rows("step_inputs", **lease)
    clock.advance(timedelta(seconds=60) - MOMENT)
    assert q.rows("step_inputs", **one) == []
    clock.advance(MOMENT)
    with q.refused("job.lease_owner_mismatch"):
        q.rows("step_inputs", **one)


@pytest.mark.parametrize("why", ["wrong", "canceled"])
def test_a_batch_that_is_not_all_live_is_written_once(q: Ledger, why: str):
    """What can be seen to be in the way is seen before anything is written, and taken back."""
    live, lost = leases(q, "job", 2)
    if why == "wrong":
        lost = {**lost, "lease_token": lost["lease_token"] + 100}
    else:
        q.row("cancel_job", job_id=lost["job_id"])
    written = "select n_tup_upd from pg_stat_xact_user_tables where relid = 'runledger.job_attempts'::regclass"
    with q.conn.transaction():
        # What the session has not sent to the statistics yet is counted, too.
        before = q.conn.execute(written).fetchone()
        told = q.finish({**live, "outcome": "SUCCEEDED"}, {**lost, "outcome": "SUCCEEDED"})
        assert [r["disposition"] for r in told] == ["SUCCEEDED", "LEASE_LOST"]
        after = q.conn.execute(written).fetchone()
    assert before is not None
    assert after == (before[0] + 1,)


def test_live_successes_never_meet_the_judge(q: Ledger):
    batch = [*leases(q, "job", 2), *leases(q, "step", 1)]
    with q.db.conn.transaction():
        q.db.execute("set local track_functions = 'all'")
        told = q.on(q.db.conn).finish(*({**x, "outcome": "SUCCEEDED", "output": 1} for x in batch))
        called = set(q.db.column("select funcname from pg_stat_xact_user_functions where schemaname = 'runledger'"))
    assert {r["disposition"] for r in told} == {"SUCCEEDED"}
    assert "_succeed_jobs" in called
    assert "_judge_outcomes" not in called


def test_what_the_look_lets_through_is_judged_under_the_lock(q: Ledger, clock: Clock):
    """Between the two a row may change, and its place be taken by another version of it."""
    clock.stop()
    live, other, canceled, expired = leases(q, "job", 4)
    q.beat(live, other, canceled, lease_seconds=600)
    q.row("cancel_job", job_id=canceled["job_id"])
    clock.advance(60)
    look = q.db.value("select pg_get_functiondef('runledger._plain_successes'::regproc)")
    assert look.count("if v_is_live then") == 1
    q.db.execute(look.replace("if v_is_live then", "if true then"))
    with q.unchanged(other["job_id"], expired["job_id"]):
        for lease in (expired, {**other, "lease_token": live["lease_token"]}, {**other, "lease_token": 1}):
            for batch in ([lease], [lease, live]):
                told = q.finish(*({**x, "outcome": "SUCCEEDED"} for x in batch))
                assert [r["disposition"] for r in told] == ["LEASE_LOST", "SUCCEEDED"][: len(batch)]
    assert q.finish_one(canceled, "SUCCEEDED")["code"] == "job.canceled"
    assert q.job(canceled["job_id"])["status"] == "CANCELED"
    assert q.finish_one(other, "SUCCEEDED")["disposition"] == "SUCCEEDED"


def test_the_reaper_holds_nothing_of_what_it_leaves(q: Ledger, clock: Clock):
    """Not of live leases, and not of expired ones that are too many for this call."""
    clock.stop()
    (expired,) = leases(q, "job", 1)
    clock.advance(MOMENT)
    (too_many,) = leases(q, "step", 1)
    clock.advance(30)
    live = [*leases(q, "job", 1), *leases(q, "step", 1)]
    clock.advance(31)
    for max_jobs, reaped in ((1, [expired]), (100, [expired, too_many])):
        left = [x["job_id"] for x in (too_many, *live) if x not in reaped]
        with q.db.connect(autocommit=False) as reaper, q.db.connect(autocommit=False) as other:
            assert [r["job_id"] for r in q.on(reaper).reap(max_jobs=max_jobs)] == [x["job_id"] for x in reaped]
            other.execute("select from runledger.job_queue where id = any (%s) for update nowait", [left])
            runs = "select workflow_run_id from runledger.job_queue where id = any (%s)"
            other.execute(f"select from runledger.workflow_runs where id in ({runs}) for update nowait".encode(), [left])
            reaper.rollback()


def test_a_cancel_leaves_what_has_ended(q: Ledger):
    """Also if its caller were wrong about it."""
    done, dead, lease = q.leased()["job_id"], q.dead(), q.leased()
    q.db.execute("select runledger.succeed_job(id, lease_token) from runledger.job_queue where id = %s", [done])
    before = q.snapshot(done, dead)
    q.db.execute("select runledger._cancel_jobs(%s, null, runledger._now())", [[done, dead, lease["job_id"]]])
    assert q.snapshot(done, dead) == before
    assert q.job(lease["job_id"])["status"] == "CANCELED"


def test_a_lease_that_is_renewed_between_look_and_lock_is_not_reaped(q: Ledger, clock: Clock):
    (lease,) = leases(q, "job", 1)
    clock.advance(61)
    lock = q.db.value("select pg_get_functiondef('runledger._lock_runs'::regproc)")
    renew = "update runledger.job_queue set lease_expires_at = runledger._now() + interval '1 minute';"
    q.db.execute(lock.replace("\nbegin\n", f"\nbegin\n{renew}\n", 1))
    with q.db.connect(admin=True) as admin:
        assert q.on(admin).reap() == []
    assert q.beat(lease) == ["EXTENDED"]


def test_a_job_that_is_claimed_between_look_and_lock_is_left(q: Ledger):
    """The lanes of several types are read without locks first."""
    job = q.job(q.enqueue())
    lanes = q.db.value("select pg_get_functiondef('runledger._lock_lanes'::regproc)")
    assert lanes.count("from candidate as c\n") == 1
    gate = "(select c.id from candidate as c cross join lateral (select pg_advisory_xact_lock(1)) as g) as c"
    q.db.execute(lanes.replace("from candidate as c\n", f"from {gate}\n"))
    call = "select (runledger._lock_lanes('{t}', %s, '-infinity', %s, 1, runledger._now())).ids"
    told: list[Any] = []
    with q.db.connect() as holder, q.db.connect(admin=True) as other:
        holder.execute("select pg_advisory_lock(1)")
        waiting = threading.Thread(target=lambda: told.append(other.execute(call, [job["priority"], NOBODY]).fetchone()))
        waiting.start()
        while not q.db.value("select cardinality(pg_blocking_pids(%s))", [other.info.backend_pid]):
            assert waiting.is_alive()
        assert q.ids() == [job["id"]]
        holder.execute("select pg_advisory_unlock(1)")
        waiting.join()
    assert told == [(None,)]


def test_a_requeue_looks_again_behind_the_lock(q: Ledger):
    """What was dead at the look may have run again, and its handler be at work."""
    job_id = q.dead()
    other = q.on()
    told: list[str] = []

    def again() -> None:
        try:
            other.row("requeue_job", job_id=job_id)
        except psycopg.Error as error:
            told.append(str(error.sqlstate))

    waiting = threading.Thread(target=again)
    with q.db.connect(autocommit=False) as conn:
        rival = q.on(conn)
        rival.row("requeue_job", job_id=job_id)
        lease = rival.hold(job_id)
        rival.row("cancel_job", job_id=job_id)
        waiting.start()
        while not q.db.value("select cardinality(pg_blocking_pids(%s))", [other.conn.info.backend_pid]):
            assert waiting.is_alive()
    waiting.join()
    assert told == ["RL021"]
    assert q.job(job_id)["lease_token"] == lease["lease_token"]


def test_a_lease_that_runs_out_while_its_finish_waits_for_the_row_is_lost(q: Ledger, clock: Clock):
    """The clock is read behind the lock."""
    clock.stop()
    (lease,) = leases(q, "job", 1)
    told: list[dict[str, Any]] = []
    other = q.on()
    with q.db.connect(autocommit=False) as rival:
        rival.execute("select from runledger.job_queue for update")
        waiting = threading.Thread(target=lambda: told.append(other.finish_one(lease, "FAILED", error_code="e.x")))
        waiting.start()
        while not q.db.value("select cardinality(pg_blocking_pids(%s))", [other.conn.info.backend_pid]):
            assert waiting.is_alive()
        clock.advance(60)
    waiting.join()
    assert told[0]["disposition"] == "LEASE_LOST"
