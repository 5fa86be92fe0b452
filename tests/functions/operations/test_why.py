"""why: an answer for every state a job can be in, and a fix that fixes.

What it says in each case stands in told/test_why.txt, word for word.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flows, step
from tests.support.ledger import LATER, NOBODY, OTHER_TENANT, TENANT, Ledger
from tests.support.servers import ROOT
from tests.support.told import ranked, telling

BY_HAND = (
    "select job_id, lease_token, payload from runledger.claim_jobs('by-hand', array['t'], 1, 300, prestart => true);"
)


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest, db: Db, clock: Clock) -> Iterator[None]:
    """Every answer is held against told/test_why.txt; time stands still, so that it can be."""
    clock.strike()
    with telling(request, clock=clock) as db.told:
        yield


def why(q: Ledger, job_id: UUID, **scope: Any) -> list[dict[str, Any]]:
    """What it says, word for word as it is written down."""
    rows = ask(q, job_id, **scope)
    assert q.db.told
    q.db.told.hear(*ranked(rows))
    return rows


def ask(q: Ledger, job_id: UUID, **scope: Any) -> list[dict[str, Any]]:
    """What it says, checked for its shape."""
    rows = q.rows("why", job_id=job_id, **scope)
    assert [r["rank"] for r in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert re.fullmatch(r"[A-Z0-9][^\n]*[.:;]", row["explanation"]), row
        assert "  " not in row["explanation"]
        assert row["fix"] is None or row["fix"].endswith(";")
    return rows


def codes(q: Ledger, job_id: UUID) -> list[str]:
    return [r["code"].removeprefix("why.") for r in why(q, job_id)]


def one(q: Ledger, job_id: UUID) -> dict[str, Any]:
    [row] = why(q, job_id)
    return row


def says(row: dict[str, Any], *words: str) -> None:
    for word in words:
        assert word in row["explanation"], row


def mend(q: Ledger, job_id: UUID, code: str) -> None:
    """Run the fix of that reason exactly as printed, by a psql-like session of its own; it must be gone then."""
    [row] = [r for r in why(q, job_id) if r["code"] == code]
    q.db.execute(row["fix"])
    assert code not in [r["code"] for r in why(q, job_id)]


def register(q: Ledger, worker: str = "w1", max_jobs: int = 10, types: Any = ("t",)) -> None:
    q.row("register_worker", worker_id=worker, job_types=list(types), max_jobs=max_jobs)


@pytest.fixture
def ready(q: Ledger, clock: Clock) -> Ledger:
    """A live worker with free slots for the type `t`."""
    register(q)
    return q


class TestPending:
    def test_a_job_that_comes_next_is_ready(self, ready: Ledger):
        row = one(ready, ready.enqueue())
        assert (row["code"], row["fix"]) == ("why.ready", None)
        says(row, "One live worker is registered for it, with 10 of 10 slots free", "within seconds")

    def test_a_job_that_nobody_takes_though_somebody_could(self, ready: Ledger, clock: Clock):
        job_id = ready.enqueue()
        clock.advance(90)
        row = one(ready, job_id)
        assert (row["code"], row["fix"]) == ("why.not_picked_up", BY_HAND)
        mend(ready, job_id, "why.not_picked_up")
        assert codes(ready, job_id) == ["claimed"]

    def test_a_job_for_later_says_until_when(self, ready: Ledger, clock: Clock):
        row = one(ready, ready.enqueue(run_at=clock.now() + LATER))
        assert (row["code"], row["fix"]) == ("why.not_due", None)
        says(row, "(in 60 min)", "not before")

    def test_a_retry_tells_the_last_error(self, ready: Ledger):
        ready.define(retry_delays_ms={"smtp.busy": 600_000})
        lease = ready.leased()
        ready.fail(lease, "smtp.busy", "421 try\nagain" + "x" * 1000)
        row = one(ready, lease["job_id"])
        assert (row["code"], row["fix"]) == ("why.retry_wait", None)
        says(row, "Attempt 1 of 8 ended with smtp.busy: 421 try again", "(in 10 min)")
        assert len(row["explanation"]) < 500

    def test_a_released_and_a_continued_job(self, ready: Ledger):
        lease = ready.leased()
        ready.release(lease, "NO_DISK", delay="5 minutes")
        row = one(ready, lease["job_id"])
        assert (row["code"], row["fix"]) == ("why.release_wait", None)
        says(row, "NO_DISK", "(in 5 min)")
        lease = ready.leased()
        ready.row("continue_job", **lease, delay="7 minutes")
        row = one(ready, lease["job_id"])
        assert (row["code"], row["fix"]) == ("why.continuation_wait", None)
        says(row, "run 2", "(in 7 min)")

    def test_a_paused_type_says_who_when_and_why(self, ready: Ledger):
        job_id = ready.enqueue()
        ready.row("pause_job_type", job_type="t", reason="the bank is down")
        row = one(ready, job_id)
        owner = ready.db.value("select paused_by from runledger.job_definitions where job_type = 't'")
        assert row["code"] == "why.type_paused"
        says(row, f"by {owner} at ", "because: the bank is down")
        mend(ready, job_id, "why.type_paused")
        assert codes(ready, job_id) == ["ready"]

    def test_a_disabled_type_does_not_hold_up_what_is_queued(self, ready: Ledger):
        job_id = ready.enqueue()
        ready.row("disable_job_type", job_type="t", reason="old")
        first, second = why(ready, job_id)
        assert (first["code"], second["code"]) == ("why.ready", "why.type_disabled")
        says(second, "because: old", "this one included")
        mend(ready, job_id, "why.type_disabled")

    def test_a_type_that_is_gone(self, ready: Ledger):
        job_id = ready.enqueue()
        ready.db.execute("delete from runledger.job_definitions")
        assert codes(ready, job_id) == ["type_unknown"]
        assert ready.ids() == []
        mend(ready, job_id, "why.type_unknown")
        assert ready.ids() == [job_id]

    def test_no_worker_at_all(self, q: Ledger):
        job_id = q.enqueue()
        row = one(q, job_id)
        assert (row["code"], row["fix"]) == ("why.no_worker", BY_HAND)
        says(row, "Who claims without registering (by psql, for example) does not show here")
        mend(q, job_id, "why.no_worker")
        assert codes(q, job_id) == ["claimed"]

    def test_a_worker_of_other_types_is_none(self, q: Ledger):
        register(q, types=["u"])
        assert codes(q, q.enqueue()) == ["no_worker"]

    def test_workers_that_fell_silent(self, ready: Ledger, clock: Clock):
        job_id = ready.enqueue()
        clock.advance(timedelta(minutes=4))
        row = one(ready, job_id)
        assert (row["code"], row["fix"]) == ("why.workers_silent", BY_HAND)
        says(row, "One worker is registered for the type t", "the last was w1")
        register(ready, "w2")
        assert codes(ready, job_id) == ["not_picked_up"]

    def test_a_heartbeat_is_a_sign_of_life(self, ready: Ledger, clock: Clock):
        lease = ready.leased(lease_seconds=600)
        clock.advance(timedelta(minutes=4))
        job_id = ready.enqueue()
        assert codes(ready, job_id) == ["workers_silent"]
        ready.beat(lease)
        assert codes(ready, job_id) == ["ready"]

    def test_who_never_registered_is_not_called_dead(self, q: Ledger):
        q.leased(worker="a psql session")
        row = one(q, q.enqueue())
        assert (row["code"], row["fix"]) == ("why.workers_unregistered", BY_HAND)
        says(row, "a job of it is held", "a psql session")

    def test_the_limit_of_a_type_names_who_has_the_slots(self, ready: Ledger):
        ready.define(max_concurrency=2)
        held = [ready.leased(worker=w) for w in ("w1", "w2")]
        job_id = ready.enqueue()
        row = one(ready, job_id)
        assert row["code"] == "why.type_limit"
        says(row, "may run 2 jobs at once", *(f"job {x['job_id']}, on worker" for x in held))
        mend(ready, job_id, "why.type_limit")
        assert codes(ready, job_id) == ["ready"]
        assert ready.ids() == [job_id]

    def test_of_many_holders_five_are_named_and_none_of_another_tenant(self, ready: Ledger):
        ready.define(max_concurrency=7)
        held = [ready.leased(organization_id=TENANT if n == 3 else OTHER_TENANT)["job_id"] for n in range(7)]
        job_id = ready.enqueue(organization_id=TENANT)
        [row] = why(ready, job_id)
        assert [str(x) in row["explanation"] for x in held] == [True] * 5 + [False] * 2
        says(row, "; and 2 more")
        [row] = why(ready, job_id, organization_id=TENANT)
        assert [str(x) in row["explanation"] for x in held] == [n == 3 for n in range(7)]

    def test_what_holds_no_slot_of_a_type_is_not_counted(self, ready: Ledger, clock: Clock):
        """Leases that have ended, and those of other types."""
        ready.define("u")
        ready.define(max_concurrency=1)
        ready.leased("u", priority=500)
        ready.leased(lease_seconds=10)
        job_id = ready.enqueue()
        clock.advance(9.999_999)
        assert codes(ready, job_id) == ["type_limit"]
        clock.advance(0.000_001)
        assert codes(ready, job_id) == ["ready"]
        ready.reap()

    def test_each_look_at_the_clock_is_exact(self, ready: Ledger, clock: Clock):
        """Due with its instant, late after a minute, and a worker lives for three minutes to the end."""
        job_id = ready.enqueue(run_at=clock.now() + timedelta(seconds=120))
        later = ready.enqueue(run_at=clock.now() + timedelta(seconds=180))
        ready.leased(worker="w1", lease_seconds=240, timeout_seconds=200, priority=500)
        clock.advance(119.999_999)
        assert codes(ready, job_id) == ["not_due"]
        clock.advance(0.000_001)
        assert codes(ready, job_id) == ["ready"]
        clock.advance(60)
        assert codes(ready, job_id) == ["ready"]
        assert codes(ready, later) == ["behind"]
        clock.advance(0.000_001)
        assert codes(ready, job_id) == ["workers_silent"]
        register(ready)
        assert codes(ready, job_id) == ["not_picked_up"]

    def test_a_worker_that_registered_for_some_types_may_hold_others(self, q: Ledger, clock: Clock):
        """It counts as a stranger to the type it holds, and its slots as taken."""
        q.define("u")
        register(q, "w1", types=["u"], max_jobs=2)
        q.leased(worker="w1")
        q.leased(worker="w1")
        q.leased(worker="w1")
        assert codes(q, q.enqueue()) == ["workers_unregistered"]
        assert codes(q, q.enqueue("u")) == ["workers_busy"]
        q.leased("u", worker="w2", priority=500)
        clock.advance(60)
        # Leases that ended show nothing any more.
        assert codes(q, q.enqueue()) == ["no_worker", "behind"]
        assert codes(q, q.enqueue("u", priority=900)) == ["ready"]
        q.reap()

    def test_who_holds_jobs_of_other_types_alone_is_no_worker(self, q: Ledger):
        q.define("u")
        q.leased("u", worker="a stranger")
        assert codes(q, q.enqueue()) == ["no_worker"]

    def test_several_silent_workers_and_strangers(self, q: Ledger, clock: Clock):
        register(q, "w2")
        clock.advance(1)
        register(q, "w1")
        register(q, "other", types=["u"])
        job_id = q.enqueue()
        clock.advance(200)
        assert codes(q, job_id) == ["workers_silent"]
        for worker in ("a stranger", "another"):
            q.leased(worker=worker, priority=500)
        assert codes(q, job_id) == ["workers_unregistered"]

    def test_a_pause_without_a_reason(self, ready: Ledger):
        job_id = ready.enqueue()
        ready.row("pause_job_type", job_type="t")
        ready.row("disable_job_type", job_type="t")
        assert codes(ready, job_id) == ["type_paused", "type_disabled"]

    def test_five_holders_fill_a_sentence_and_a_sixth_is_one_more(self, ready: Ledger):
        for limit, told in ((1, ""), (5, ""), (6, "; and 1 more")):
            ready.define(max_concurrency=limit)
            while len(ready.claim(1)) == 0 and ready.pending() == 0:
                ready.enqueue()
            while ready.pending() == 0:
                ready.enqueue()
                ready.claim(1)
            [job_id] = ready.db.column("select id from runledger.job_queue where status = 'PENDING'")
            assert (told or ". One is free") in one(ready, job_id)["explanation"]
            ready.row("cancel_job", job_id=job_id)

    def test_a_canceled_handler_fills_its_slot_until_it_is_quiet(self, ready: Ledger):
        ready.define(max_concurrency=1)
        lease = ready.leased()
        ready.row("cancel_job", job_id=lease["job_id"])
        row = one(ready, ready.enqueue())
        assert row["code"] == "why.type_limit"
        says(row, "that was canceled, its handler perhaps at work until")

    def test_all_slots_of_the_workers_are_taken(self, q: Ledger, clock: Clock):
        register(q, max_jobs=2)
        register(q, "w2", max_jobs=1, types=["t", "u"])
        q.define("u")
        q.leased()
        q.leased("u", worker="w2")
        job_id = q.enqueue()
        assert codes(q, job_id) == ["ready"]
        q.hold(job_id)
        row = one(q, q.enqueue())
        assert (row["code"], row["fix"]) == ("why.workers_busy", None)
        says(row, "3 slots on 2 workers, all taken")

    def test_jobs_before_it_are_counted_by_kind(self, ready: Ledger, clock: Clock):
        ready.define("u")
        ready.define("paused")
        ready.row("pause_job_type", job_type="paused")
        register(ready, types=["t", "u", "paused"])
        before = clock.now() - timedelta(minutes=1)
        ready.enqueue_many(2, priority=101)
        ready.enqueue_many(3, "u", priority=500)
        ready.enqueue_many(4)
        ready.enqueue("u", run_at=before)
        ready.enqueue("paused", priority=900)
        ready.enqueue("t", priority=900, run_at=clock.now() + LATER)
        ready.enqueue("t", priority=99)
        ready.define("other")
        ready.enqueue("other", priority=900)
        job_id = ready.enqueue()
        ready.enqueue_many(2)
        row = one(ready, job_id)
        assert (row["code"], row["fix"]) == ("why.behind", None)
        says(row, "Before it: 5 ready jobs of higher priority, 5 of its own priority (100)")
        # Exactly those are what a worker takes first.
        assert ready.ids(11, "t", "u", "paused")[-1] == job_id

    def test_jobs_of_another_type_whose_limit_is_reached_are_not_before_it(self, ready: Ledger):
        ready.define("few", max_concurrency=2)
        register(ready, max_jobs=5, types=["t", "few"])
        ready.enqueue_many(4, "few", priority=500)
        job_id = ready.enqueue()
        says(one(ready, job_id), "Before it: 4 ready jobs of higher priority")
        ready.claim(1, "few")
        says(one(ready, job_id), "Before it: 3 ready jobs of higher priority")
        ready.claim(1, "few")
        assert codes(ready, job_id) == ["ready"]
        assert ready.ids(1, "t", "few") == [job_id]

    def test_one_whose_turn_has_only_just_come_is_not_said_to_be_passed_over(self, ready: Ledger, clock: Clock):
        ready.define(max_concurrency=1)
        register(ready)
        lease, job_id = ready.leased(lease_seconds=600), ready.enqueue()
        clock.advance(100)
        assert codes(ready, job_id) == ["type_limit"]
        ready.succeed(lease)
        says(one(ready, job_id), "unless its turn has only just come, they do not claim")

    def test_a_long_queue_is_not_counted_to_its_end(self, ready: Ledger):
        ready.enqueue_many(1500)
        says(one(ready, ready.enqueue()), "Before it: more than 1000 ready jobs")

    @pytest.mark.parametrize("limited", [False, True])
    def test_a_transaction_left_open_keeps_the_row(self, ready: Ledger, clock: Clock, limited: bool):
        """Claims pass a locked row by: one forgotten session, and the job never runs."""
        if limited:
            ready.define(max_concurrency=5)
        job_id = ready.enqueue()
        forgotten = ready.db.connect(autocommit=False)
        forgotten.execute("select from runledger.job_queue for update")
        assert codes(ready, job_id) == ["ready"], "it may be a claim at work"
        clock.advance(50)
        assert codes(ready, job_id) == ["row_locked"]
        says(one(ready, job_id), f"session {forgotten.info.backend_pid} ", "idle in transaction")
        assert ready.ids() == []
        mend(ready, job_id, "why.row_locked")
        assert ready.ids() == [job_id]

    def test_a_claim_left_open_keeps_a_limited_type(self, ready: Ledger, clock: Clock):
        ready.define(max_concurrency=5)
        ready.enqueue()
        forgotten = ready.on(ready.db.connect(autocommit=False))
        assert len(forgotten.claim()) == 1
        job_id = ready.enqueue(priority=200)
        clock.advance(50)
        row = one(ready, job_id)
        assert row["code"] == "why.type_limit_locked"
        says(row, f"session {forgotten.conn.info.backend_pid} ")
        assert ready.ids() == []
        mend(ready, job_id, "why.type_limit_locked")
        assert ready.ids() == [job_id]

    def test_locks_of_others_that_hold_nothing_up(self, ready: Ledger, clock: Clock):
        """Another key, another kind, another database; and transactions that have locked other rows."""
        ready.define(max_concurrency=5)
        job_id = ready.enqueue()
        limit = ready.db.one("select hashtext('runledger.max_concurrency') as class, hashtext('t') as key")
        for lock in (
            "pg_advisory_xact_lock(%(key)s::bigint)", "pg_advisory_xact_lock(%(class)s, %(key)s # 1)",
            "pg_advisory_xact_lock(%(class)s # 1, %(key)s)", "pg_advisory_xact_lock_shared(%(class)s, %(key)s)",
        ):  # fmt: skip
            conn = ready.db.connect(autocommit=False)
            conn.execute(f"select {lock}, pg_current_xact_id()".encode(), limit)
        elsewhere = psycopg.conninfo.make_conninfo(ready.db.admin_dsn, dbname="postgres")
        with psycopg.connect(elsewhere) as conn:
            conn.execute("select pg_advisory_xact_lock(%(class)s, %(key)s)", limit)
            clock.advance(50)
            assert codes(ready, job_id) == ["ready"]

    def test_several_reasons_come_in_the_order_of_mending(self, q: Ledger, clock: Clock):
        job_id = q.enqueue(run_at=clock.now() + LATER)
        q.row("pause_job_type", job_type="t")
        q.row("disable_job_type", job_type="t")
        assert codes(q, job_id) == ["type_paused", "not_due", "no_worker", "type_disabled"]


class TestLeased:
    def test_a_running_job_tells_by_whom_since_when_and_how_far(self, ready: Ledger):
        lease = ready.leased()
        ready.row("report_progress", **lease, done=3, total=4, stage="upload")
        row = one(ready, lease["job_id"])
        assert (row["code"], row["fix"]) == ("why.running", None)
        says(
            row,
            "Worker w1 runs it since",
            "attempt 1 of 8, stage upload, 3 of 4 done. Last heartbeat",
            "the lease ends",
        )

    def test_a_claimed_job_that_was_not_started(self, ready: Ledger):
        lease = ready.leased(prestart=True)
        assert codes(ready, lease["job_id"]) == ["claimed"]
        ready.start(lease)
        assert codes(ready, lease["job_id"]) == ["running"]

    def test_a_lease_ends_and_a_timeout_begins_with_its_instant(self, ready: Ledger, clock: Clock):
        lease = ready.leased(lease_seconds=20, timeout_seconds=10)
        for after, told in ((9.999_999, "running"), (0.000_001, "over_timeout"), (9.999_999, "over_timeout"),
                            (0.000_001, "lease_expired")):  # fmt: skip
            clock.advance(after)
            assert codes(ready, lease["job_id"]) == [told]

    def test_progress_without_a_total_and_nothing_but_a_stage(self, ready: Ledger, clock: Clock):
        lease = ready.leased(max_attempts=3)
        assert codes(ready, lease["job_id"]) == ["running"]
        clock.advance(7)
        ready.row("report_progress", **lease, done=3)
        assert codes(ready, lease["job_id"]) == ["running"]
        clock.advance(8)
        ready.beat(lease)
        assert codes(ready, lease["job_id"]) == ["running"]

    def test_the_second_attempt_of_the_second_run(self, ready: Ledger, clock: Clock):
        """What was of the first is no longer told."""
        ready.define(retry_delays_ms={"e.x": 1000})
        lease = ready.leased(max_attempts=4, timeout_seconds=10, prestart=True)
        ready.start(lease)
        ready.fail(lease, kind="TERMINAL")
        ready.row("requeue_job", job_id=lease["job_id"])
        lease = ready.hold(lease["job_id"])
        ready.fail(lease)
        assert codes(ready, lease["job_id"]) == ["retry_wait"]
        clock.advance(30)
        register(ready)
        lease = ready.hold(lease["job_id"])
        assert codes(ready, lease["job_id"]) == ["running"]
        clock.advance(61)
        assert codes(ready, lease["job_id"]) == ["lease_expired"]
        ready.reap()
        clock.advance(30)
        lease = ready.hold(lease["job_id"])
        ready.succeed(lease)
        assert codes(ready, lease["job_id"]) == ["succeeded"]

    def test_a_job_beyond_its_timeout(self, ready: Ledger, clock: Clock):
        lease = ready.leased(timeout_seconds=10)
        clock.advance(20)
        ready.beat(lease)
        row = one(ready, lease["job_id"])
        assert row["code"] == "why.over_timeout"
        says(row, "It may take 10 s")
        mend(ready, lease["job_id"], "why.over_timeout")
        assert codes(ready, lease["job_id"]) == ["canceled_stopping"]

    @pytest.mark.parametrize(
        ("settings", "prestart", "words", "then"),
        [
            ({}, False, "tried again after 30 s, attempt 2 of 8", ["retry_wait", "no_worker"]),
            ({"max_attempts": 1}, False, "attempt 1 of 1, so it becomes a dead letter", ["dead_lettered"]),
            ({}, True, "never started, so that costs no attempt", ["no_worker"]),
        ],
    )
    def test_an_expired_lease_tells_what_the_upkeep_does(
        self, q: Ledger, clock: Clock, settings: dict[str, int], prestart: bool, words: str, then: list[str]
    ):
        lease = q.leased(prestart=prestart, **settings)
        clock.advance(61)
        row = one(q, lease["job_id"])
        assert row["code"] == "why.lease_expired"
        says(row, "Worker w1 held it", words, "No worker was seen", "run_maintenance() last worked never")
        mend(q, lease["job_id"], "why.lease_expired")
        assert codes(q, lease["job_id"]) == then

    def test_an_expired_lease_with_live_workers_about(self, ready: Ledger, clock: Clock):
        lease = ready.leased()
        clock.advance(61)
        says(one(ready, lease["job_id"]), "Each live worker does that every few seconds (1 seen")
        other = ready.leased()
        ready.rows("run_maintenance")
        clock.advance(120)
        says(one(ready, other["job_id"]), "run_maintenance() last worked 20", "(2 min ago)")

    def test_a_worker_is_seen_for_three_minutes(self, ready: Ledger, clock: Clock):
        lease = ready.leased()
        clock.stop()
        ready.row("register_worker", worker_id="w1", job_types=["t"])
        for seconds, words in ((180, "1 seen"), (0.000_001, "No worker was seen")):
            clock.advance(seconds)
            says(one(ready, lease["job_id"]), words)

    def test_an_expired_lease_that_nobody_can_take_back(self, ready: Ledger, clock: Clock):
        lease = ready.leased()
        forgotten = ready.db.connect(autocommit=False)
        forgotten.execute("select from runledger.job_queue for update")
        clock.advance(61)
        assert codes(ready, lease["job_id"]) == ["row_locked", "lease_expired"]
        assert ready.reap() == []
        mend(ready, lease["job_id"], "why.row_locked")
        mend(ready, lease["job_id"], "why.lease_expired")


class TestFinished:
    def test_a_dead_letter_tells_its_error_and_the_fix_runs_it_again(self, ready: Ledger):
        lease = ready.leased()
        ready.fail(lease, "card.refused", "no\tmoney", kind="TERMINAL")
        row = one(ready, lease["job_id"])
        assert row["code"] == "why.dead_lettered"
        says(row, "on attempt 1 of 8 (TERMINAL), with card.refused: no money")
        mend(ready, lease["job_id"], "why.dead_lettered")
        assert codes(ready, lease["job_id"]) == ["ready"]

    def test_a_canceled_job_can_be_run_again_once_it_is_quiet(self, ready: Ledger, clock: Clock):
        lease = ready.leased()
        ready.row("cancel_job", job_id=lease["job_id"], reason="wrong customer")
        row = one(ready, lease["job_id"])
        assert (row["code"], row["fix"]) == ("why.canceled_stopping", None)
        says(row, "(wrong customer)", "at the latest until")
        clock.advance(61)
        assert one(ready, lease["job_id"])["code"] == "why.canceled"
        mend(ready, lease["job_id"], "why.canceled")
        assert codes(ready, lease["job_id"])[-1] == "ready"

    def test_a_canceled_step_is_not_said_to_run_again(self, ready: Ledger):
        flow = Flows(ready)(step("a"))
        lease = flow.lease("a")
        flow.cancel()
        row = one(ready, lease["job_id"])
        assert row["code"] == "why.canceled_stopping"
        assert "run again" not in row["explanation"]

    def test_it_is_quiet_with_the_instant_its_lease_ends(self, ready: Ledger, clock: Clock):
        lease = ready.leased()
        ready.row("cancel_job", job_id=lease["job_id"])
        clock.advance(59.999_999)
        assert codes(ready, lease["job_id"]) == ["canceled_stopping"]
        clock.advance(0.000_001)
        assert codes(ready, lease["job_id"]) == ["canceled"]

    def test_a_pending_job_that_was_canceled(self, ready: Ledger):
        job_id = ready.enqueue()
        ready.row("cancel_job", job_id=job_id)
        mend(ready, job_id, "why.canceled")

    def test_a_succeeded_job_needs_nothing(self, ready: Ledger):
        lease = ready.leased()
        ready.succeed(lease)
        row = one(ready, lease["job_id"])
        assert (row["code"], row["fix"]) == ("why.succeeded", None)

    def test_a_redacted_job_cannot_run_again(self, ready: Ledger):
        job_id = ready.dead()
        ready.row("redact_job", job_id=job_id, reason="gdpr")
        row = one(ready, job_id)
        assert (row["code"], row["fix"]) == ("why.dead_lettered", None)
        says(row, "nothing is left to run it with")


class TestScope:
    def test_another_tenant_has_no_such_job(self, q: Ledger):
        job_id = q.enqueue(organization_id=TENANT)
        assert why(q, job_id, organization_id=TENANT)
        for told in ({"job_id": job_id, "organization_id": OTHER_TENANT}, {"job_id": NOBODY}, {"job_id": None}):
            with q.refused("job.not_found"):
                q.rows("why", **told)

    def test_no_payload_and_no_key_is_told(self, q: Ledger, clock: Clock):
        q.define(max_concurrency=1, max_attempts=1)
        ids = [q.enqueue(payload={"SECRET": n}, idempotency_key=f"SECRET{n}") for n in range(3)]
        lease = q.hold(ids[0])
        told = [str(why(q, i)) for i in ids]
        q.row("report_progress", **lease, checkpoint={"SECRET": 1})
        q.fail(lease)
        told += [str(why(q, i)) for i in ids]
        q.succeed(q.hold(ids[1]), output={"SECRET": 1})
        told += [str(why(q, i)) for i in ids]
        assert "SECRET" not in str(told).replace(BY_HAND, "")

    def test_it_reads_only_and_locks_nothing(self, q: Ledger):
        job_id = q.enqueue()
        with q.db.connect(autocommit=False) as conn:
            conn.execute("set transaction read only")
            assert q.on(conn).rows("why", job_id=job_id)
            locks = conn.execute(
                "select count(*) from pg_locks where pid = pg_backend_pid() and mode not in ('AccessShareLock', 'ExclusiveLock')"
            ).fetchone()
            assert locks == (0,)

    def test_odd_names_stay_names(self, q: Ledger, clock: Clock):
        name = "it's\n\\a; drop table x --"
        q.define(name)
        job_id = q.enqueue(name)
        q.row("pause_job_type", job_type=name, reason="100%s'\n")
        mend(q, job_id, "why.type_paused")
        mend(q, job_id, "why.no_worker")
        assert codes(q, job_id) == ["claimed"]


# --- every state that is not final has an answer ------------------------------------------------------


def leases(q: Ledger, clock: Clock) -> dict[str, Callable[[], UUID]]:
    """Every way to be pending or leased, by name; each call makes one such job of type `t`."""
    first = itertools.count(1000)

    def leased(**job: Any) -> dict[str, Any]:
        return q.leased(priority=next(first), **job)

    def then(function: str, lease: dict[str, Any] | None = None, **arguments: Any) -> UUID:
        lease = lease or leased()
        q.row(function, **lease, **arguments)
        return lease["job_id"]

    def failed(lease: dict[str, Any] | None = None, **wait: Any) -> UUID:
        return then("fail_job", lease, error_code="e.x", error_message="m", not_before=clock.now() + timedelta(**wait))

    def again(function: Callable[[UUID], Any]) -> UUID:
        job_id = q.dead(priority=next(first))
        function(job_id)
        return job_id

    return {
        "new": q.enqueue,
        "delayed": lambda: q.enqueue(run_at=clock.now() + LATER),
        "of low priority": lambda: q.enqueue(priority=-5),
        "retry, due soon": lambda: failed(seconds=1),
        "retry": lambda: failed(hours=1),
        "retry for the last time": lambda: failed(leased(max_attempts=2), hours=1),
        "released": lambda: then("release_job", reason="r"),
        "released for later": lambda: then("release_job", reason="r", delay="1 hour"),
        "continued": lambda: then("continue_job"),
        "continued later": lambda: then("continue_job", delay="1 hour"),
        "requeued": lambda: again(lambda j: q.row("requeue_job", job_id=j)),
        "redriven": lambda: again(lambda j: q.rows("redrive_dead_letters", reason="r")),
        "running": lambda: leased(lease_seconds=3600)["job_id"],
        "claimed": lambda: leased(lease_seconds=3600, prestart=True)["job_id"],
        "over time": lambda: leased(timeout_seconds=1, lease_seconds=3600)["job_id"],
        "expiring": lambda: leased(lease_seconds=1)["job_id"],
        "expiring unstarted": lambda: leased(lease_seconds=1, prestart=True)["job_id"],
        "expiring on the last attempt": lambda: leased(lease_seconds=1, max_attempts=1)["job_id"],
    }


WAITS = {"not_due", "retry_wait", "release_wait", "continuation_wait"}
HOLDS = {"type_unknown", "type_paused", "no_worker", "workers_silent", "workers_unregistered", "type_limit",
         "workers_busy", "behind"}  # fmt: skip
READY = {"ready", "not_picked_up"}
LEASED = {"running", "claimed", "over_timeout", "lease_expired"}


def switch(q: Ledger, type_: str) -> None:
    """Bring the type into that state."""
    if type_ == "paused":
        q.row("pause_job_type", job_type="t")
    elif type_ == "disabled":
        q.row("disable_job_type", job_type="t")
    elif type_ == "limited":
        q.define(max_concurrency=1)
    elif type_ == "unknown":
        q.db.execute("delete from runledger.job_definitions")


@pytest.mark.parametrize("passed", [5, 90], ids=["soon", "late"])
@pytest.mark.parametrize("worker", ["none", "live", "silent", "busy", "other"])
def test_every_state_that_is_not_final_has_an_answer(q: Ledger, db: Db, clock: Clock, worker: str, passed: int):
    """Ways to be pending or leased x switches and limit of the type x who works: always a specific, fitting answer."""
    made = {name: make() for name, make in leases(q, clock).items()}
    if worker == "silent":
        register(q)
        clock.advance(timedelta(minutes=4))
    clock.advance(passed)
    if worker in ("live", "busy"):
        register(q, max_jobs=100 if worker == "live" else 1)
    elif worker == "other":
        register(q, types=["u"])
    here = q.on(db.conn)
    seen = set()
    for type_ in ("plain", "paused", "disabled", "limited", "unknown"):
        with db.conn.transaction(force_rollback=True):
            switch(here, type_)
            for name, job_id in made.items():
                found = [r["code"].removeprefix("why.") for r in ask(here, job_id)]
                check(here.job(job_id), clock.now(), type_, worker, found, name)
                seen |= set(found)
    assert seen >= LEASED | WAITS | {"type_paused", "type_unknown", "type_disabled", "type_limit", "behind"}
    if worker == "live":
        # Where the type was switched just now, its jobs are ready since then.
        assert seen & READY == ({"ready"} if passed == 5 else READY)


def check(job: dict[str, Any], now: Any, type_: str, worker: str, found: list[str], name: str) -> None:
    rest = set(found) - {"type_disabled"}
    told = (name, type_, worker, found)
    assert rest, told
    assert ("type_disabled" in found) == (type_ == "disabled" and job["status"] == "PENDING"), told
    if job["status"] == "LEASED":
        assert len(found) == 1, told
        assert rest <= LEASED, told
        assert ("lease_expired" in rest) == (job["lease_expires_at"] <= now), told
        return
    assert rest <= WAITS | HOLDS | READY, told
    assert len(rest & WAITS) == (job["next_run_at"] > now), told
    assert ("type_paused" in rest) == (type_ == "paused"), told
    assert ("type_unknown" in rest) == (type_ == "unknown"), told
    assert len(rest & {"no_worker", "workers_silent", "workers_unregistered"}) == (worker not in ("live", "busy")), told
    if rest & READY:
        assert (worker, len(rest)) == ("live", 1), told


def test_codes_are_listed_and_reached(db: Db):
    """The view why_codes is what the functions say, no more and no less."""
    texts = "".join(
        db.column("select prosrc from pg_proc where pronamespace = 'runledger'::regnamespace and proname ~ '^_?why'")
    )
    listed = db.column("select code from runledger.why_codes")
    assert sorted(listed) == sorted(set(re.findall(r"'(why\.[a-z_]+)'", texts)))
    readme = (ROOT / "sql/README.md").read_text()
    for row in db.all("select * from runledger.why_codes"):
        assert f"| `{row['code']}` | {row['tells_of']} | {row['meaning']} |" in readme
