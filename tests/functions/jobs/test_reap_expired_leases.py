"""reap_expired_leases: what becomes of jobs whose workers fell silent."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger


def test_an_expired_lease_is_tried_again_after_the_delay(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10, max_attempts=2)
    q.row("report_progress", **lease, checkpoint={"page": 1})
    clock.advance(11)
    [row] = q.reap(retry_delay=timedelta(seconds=45))
    job, [attempt] = q.job(lease["job_id"]), q.db.attempts(lease["job_id"])
    assert row == {
        "job_id": lease["job_id"], "job_type": "t", "run_number": 1, "attempt": 1, "worker_id": "w1",
        "disposition": "RETRY_SCHEDULED", "next_run_at": job["next_run_at"], "code": "job.lease_expired",
    }  # fmt: skip
    assert (job["status"], job["attempt"], job["worker_id"], job["lease_token"], job["checkpoint"]) == (
        "PENDING",
        1,
        None,
        None,
        {"page": 1},
    )
    assert (job["status_reason"], job["last_error_code"]) == ("LEASE_EXPIRED", "job.lease_expired")
    assert (attempt["disposition"], attempt["outcome"], attempt["error_code"]) == (
        "RETRY_SCHEDULED",
        "LEASE_EXPIRED",
        "job.lease_expired",
    )
    assert (attempt["retry_delay_ms"], attempt["retry_timing_source"]) == (45_000, "REAPER")
    assert job["next_run_at"] - attempt["finished_at"] == timedelta(seconds=45)
    assert q.told(lease["job_id"])[-2:] == [("FAILED", 1, 1), ("RETRY_SCHEDULED", 1, 1)]
    told = q.event(lease["job_id"], "FAILED")["payload"]
    assert (told["kind"], told["error_code"], told["started_without_renewal_heartbeat"]) == (
        "LEASE_EXPIRED",
        "job.lease_expired",
        True,
    )
    assert q.claim() == []
    clock.advance(46)
    q.succeed(q.hold(lease["job_id"]))


def test_the_last_attempt_is_a_dead_letter(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10, max_attempts=1, payload={"a": 1})
    clock.advance(5)
    q.beat(lease, lease_seconds=10)
    clock.advance(11)
    [row] = q.reap()
    assert (row["disposition"], row["next_run_at"], row["code"]) == ("DEAD_LETTERED", None, "job.lease_expired")
    job, [attempt] = q.job(lease["job_id"]), q.db.attempts(lease["job_id"])
    assert (job["status"], job["status_reason"]) == ("DEAD_LETTERED", "LEASE_EXPIRED")
    assert (attempt["outcome"], attempt["retry_delay_ms"]) == ("LEASE_EXPIRED", None)
    letter = q.db.one("select * from runledger.job_dead_letters")
    assert (letter["payload_snapshot"], letter["error_code"], letter["attempt"]) == ({"a": 1}, "job.lease_expired", 1)
    assert q.told(lease["job_id"])[-2:] == [("FAILED", 1, 1), ("DEAD_LETTERED", 1, 1)]
    # This handler's heartbeat did run.
    assert q.event(lease["job_id"], "DEAD_LETTERED")["payload"] == {
        "kind": "LEASE_EXPIRED", "error_code": "job.lease_expired", "started_without_renewal_heartbeat": False,
    }  # fmt: skip


def test_a_claim_that_never_started_costs_nothing(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10, max_attempts=1, prestart=True)
    clock.advance(11)
    [row] = q.reap()
    job = q.job(lease["job_id"])
    assert (row["disposition"], row["code"], row["next_run_at"]) == (
        "RELEASED",
        "LEASE_EXPIRED_BEFORE_RUNNING_PERSISTED",
        job["next_run_at"],
    )
    assert (job["status"], job["attempt"], job["started_at"], job["stage"]) == ("PENDING", 0, None, "queued")
    assert q.db.attempts(lease["job_id"]) == []
    assert q.told(lease["job_id"]) == [("ENQUEUED", 1, None), ("LEASED", 1, 1), ("REQUEUED", 1, 1)]
    lease = q.hold(lease["job_id"])
    q.succeed(lease)
    assert [a["attempt"] for a in q.db.attempts(lease["job_id"])] == [1]


def test_a_later_claim_that_never_started_gives_its_attempt_back(q: Ledger, clock: Clock):
    lease = q.leased(max_attempts=2)
    q.fail(lease)
    clock.advance(60)
    q.hold(lease["job_id"], prestart=True, lease_seconds=10)
    clock.advance(11)
    [row] = q.reap()
    assert (row["disposition"], row["attempt"], q.job(lease["job_id"])["attempt"]) == ("RELEASED", 2, 1)
    assert [a["attempt"] for a in q.db.attempts(lease["job_id"])] == [1]


def test_a_prestart_claim_that_started_is_charged(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10, prestart=True)
    q.start(lease)
    clock.advance(11)
    assert [r["disposition"] for r in q.reap()] == ["RETRY_SCHEDULED"]


def test_live_leases_are_left_alone(q: Ledger, clock: Clock):
    q.leased(lease_seconds=10)
    with q.unchanged():
        assert q.reap() == []
        clock.advance(9)
        assert q.reap() == []


def test_the_oldest_expiry_goes_first_within_the_limit(q: Ledger, clock: Clock):
    leases = {seconds: q.leased(lease_seconds=seconds)["job_id"] for seconds in (30, 10, 20, 500)}
    clock.advance(60)
    assert [r["job_id"] for r in q.reap(max_jobs=1)] == [leases[10]]
    assert [r["job_id"] for r in q.reap()] == [leases[20], leases[30]]
    assert q.reap() == []


def test_locked_rows_are_left_for_the_next_sweep(q: Ledger, clock: Clock):
    first, second = q.leased(lease_seconds=1), q.leased(lease_seconds=1)
    clock.advance(2)
    other = q.on(autocommit=False)
    other.conn.execute("select from runledger.job_queue where id = %s for update", [first["job_id"]])
    q.conn.execute("set statement_timeout = '10s'")
    assert [r["job_id"] for r in q.reap()] == [second["job_id"]]
    other.conn.rollback()
    assert [r["job_id"] for r in q.reap()] == [first["job_id"]]


def test_a_hanging_batch_does_not_stop_the_reaper(q: Ledger, clock: Clock):
    """A backend that hangs in a finish holds the oldest leases; those behind them must be ended all the same."""
    q.enqueue_many(12)
    stuck = [c["job_id"] for c in q.claim(12, lease_seconds=1)]
    free = [q.leased(lease_seconds=5)["job_id"] for _ in range(3)]
    clock.advance(10)
    other = q.on(autocommit=False)
    other.conn.execute("select from runledger.job_queue where id = any (%s) for update", [stuck])
    q.conn.execute("set statement_timeout = '10s'")
    assert [r["job_id"] for r in q.reap(max_jobs=2)] == free[:2]
    assert [r["job_id"] for r in q.reap(max_jobs=2)] == free[2:]
    other.conn.rollback()
    assert [r["job_id"] for r in q.reap()] == stuck


def poison(
    db: Db, sqlstate: str = "check_violation", on: str = "old.payload ? 'poison' and new.status <> 'LEASED'"
) -> None:
    """Rows with such a payload cannot be settled."""
    db.execute(
        f"""create function public.poison() returns trigger language plpgsql as
            $$ begin if {on} then raise exception 'poisoned' using errcode = '{sqlstate}'; end if; return new; end $$"""
    )
    db.execute(
        "create trigger poison before update on runledger.job_queue for each row execute function public.poison()"
    )


def test_a_row_that_cannot_be_settled_does_not_keep_the_others(db: Db, q: Ledger, clock: Clock):
    bad = q.leased(lease_seconds=1, payload={"poison": 1})
    good = [q.leased(lease_seconds=5)["job_id"] for _ in range(3)]
    poison(db)
    clock.advance(10)
    before = q.job(bad["job_id"])
    rows = q.reap(retry_delay=timedelta(seconds=40))
    assert [(r["job_id"], r["disposition"], r["code"]) for r in rows[:1]] == [(bad["job_id"], "DEFERRED", "23514")]
    assert [(r["job_id"], r["disposition"]) for r in rows[1:]] == [(x, "RETRY_SCHEDULED") for x in good]
    # The row is put off and otherwise as it was; nothing is told of it.
    after = q.job(bad["job_id"])
    assert {k for k in before if before[k] != after[k]} == {"lease_expires_at"}
    assert timedelta(seconds=30) < after["lease_expires_at"] - clock.now() <= timedelta(seconds=40)
    assert q.db.events(bad["job_id"]) == ["ENQUEUED", "LEASED"]
    assert q.reap() == []
    clock.advance(41)
    assert [r["disposition"] for r in q.reap()] == ["DEFERRED"]
    db.execute("drop trigger poison on runledger.job_queue")
    clock.advance(41)
    assert [r["disposition"] for r in q.reap()] == ["RETRY_SCHEDULED"]


def test_a_crowd_of_bad_rows_is_put_off_sweep_by_sweep(db: Db, q: Ledger, clock: Clock):
    q.enqueue_many(30, payload={"poison": 1})
    q.claim(30, lease_seconds=1)
    good = q.leased(lease_seconds=5)["job_id"]
    poison(db)
    clock.advance(10)
    reaped: list = []
    for _ in range(5):
        reaped += q.reap()
    assert {r["disposition"] for r in reaped if r["job_id"] != good} == {"DEFERRED"}
    assert [r["disposition"] for r in reaped if r["job_id"] == good] == ["RETRY_SCHEDULED"]
    assert len(reaped) == 31


def test_a_row_that_cannot_even_be_put_off_is_reported(db: Db, q: Ledger, clock: Clock):
    bad, good = q.leased(lease_seconds=1, payload={"poison": 1}), q.leased(lease_seconds=5)
    poison(db, on="old.payload ? 'poison'")
    clock.advance(10)
    with q.unchanged(bad["job_id"]):
        rows = q.reap()
    assert [(r["job_id"], r["disposition"]) for r in rows] == [
        (bad["job_id"], "DEFERRED"),
        (good["job_id"], "RETRY_SCHEDULED"),
    ]


def test_a_canceled_row_that_cannot_be_cleared_keeps_nobody(db: Db, q: Ledger, clock: Clock):
    canceled, good = q.leased(lease_seconds=1, payload={"poison": 1}), q.leased(lease_seconds=5)
    q.row("cancel_job", job_id=canceled["job_id"])
    poison(db, on="old.payload ? 'poison'")
    clock.advance(10)
    assert [(r["job_id"], r["disposition"]) for r in q.reap()] == [(good["job_id"], "RETRY_SCHEDULED")]
    assert q.job(canceled["job_id"])["lease_token"] == canceled["lease_token"]
    db.execute("drop trigger poison on runledger.job_queue")
    q.reap()
    assert q.job(canceled["job_id"])["lease_token"] is None


def test_a_server_in_trouble_is_not_a_bad_row(db: Db, q: Ledger, clock: Clock):
    q.leased(lease_seconds=1, payload={"poison": 1})
    poison(db, sqlstate="53100")
    clock.advance(10)
    with q.unchanged(), pytest.raises(Exception, match="poisoned"):
        q.reap()


def test_reaping_refuses(q: Ledger):
    for bad, code in [({"max_jobs": x}, "job.invalid_limit") for x in (None, 0, -1, 1001)] + [
        ({"retry_delay": x}, "job.invalid_retry_delay") for x in (None, "-1 s", "11 years", "10 years", "-1 year 360 days")
    ]:
        with q.refused(code, "RL010"):
            q.reap(**bad)
    for isolation in ("repeatable read", "serializable"):
        with q.refused("operations.unsupported_isolation", "RL013"), q.conn.transaction():
            q.conn.execute(f"set transaction isolation level {isolation}")
            q.reap()


def test_a_delay_is_as_long_as_it_says_whatever_the_months(q: Ledger, clock: Clock):
    """A month from now depends on the day and the time zone; what an attempt tells is a number of milliseconds."""
    q.conn.execute("set timezone = 'Europe/Berlin'")
    for delay in ("1 month", "1 year", "1 day", "200 days"):
        lease = q.leased(lease_seconds=1)
        clock.advance(2)
        [reaped] = q.reap(retry_delay=delay)
        [attempt] = q.db.attempts(lease["job_id"])
        assert reaped["next_run_at"] - attempt["finished_at"] == timedelta(milliseconds=attempt["retry_delay_ms"]), delay


def test_a_delay_of_zero_is_due_at_once(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=1)
    clock.advance(2)
    q.reap(retry_delay=timedelta(0))
    q.hold(lease["job_id"])
