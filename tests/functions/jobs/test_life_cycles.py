"""Whole lives of jobs, told as events, attempts and dead letters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.clock import Clock
from tests.support.ledger import Ledger

Life = Callable[[Ledger, Clock, dict], None]
LIVES: dict[str, tuple[int, Life, str, str, list[str | None], int | None]] = {}


def life(max_attempts: int, events: str, attempts: list[str | None], status: str = "SUCCEEDED", dead: int | None = None) -> Callable[[Life], Life]:
    """A life by its events (run.attempt in brackets), the outcomes of its attempts, its end and its dead letter's attempt."""

    def register(run: Life) -> Life:
        LIVES[run.__name__] = (max_attempts, run, events, status, attempts, dead)
        return run

    return register


def again(q: Ledger, clock: Clock, lease: dict, after: float = 60, **claim: object) -> dict:
    clock.advance(after)
    return q.hold(lease["job_id"], **claim)


@life(8, "ENQUEUED LEASED[1.1] SUCCEEDED[1.1]", [None])
def success(q: Ledger, clock: Clock, lease: dict) -> None:
    q.beat(lease)
    q.succeed(lease)


@life(8, "ENQUEUED LEASED[1.1] PROGRESS[1.1] STAGE_CHANGED[1.1] SUCCEEDED[1.1]", [None])
def success_with_progress(q: Ledger, clock: Clock, lease: dict) -> None:
    q.row("report_progress", **lease, done=1, total=2)
    q.row("report_progress", **lease, stage="nearly")
    q.succeed(lease, done=2)


@life(8, "ENQUEUED LEASED[1.1] FAILED[1.1] RETRY_SCHEDULED[1.1] LEASED[1.2] SUCCEEDED[1.2]", ["RETRYABLE", None])
def retry_then_success(q: Ledger, clock: Clock, lease: dict) -> None:
    q.fail(lease)
    q.succeed(again(q, clock, lease))


@life(2, "ENQUEUED LEASED[1.1] FAILED[1.1] RETRY_SCHEDULED[1.1] LEASED[1.2] FAILED[1.2] DEAD_LETTERED[1.2]", ["RETRYABLE", "RETRYABLE"], "DEAD_LETTERED", 2)
def attempts_exhausted(q: Ledger, clock: Clock, lease: dict) -> None:
    q.fail(lease)
    q.fail(again(q, clock, lease))


@life(5, "ENQUEUED LEASED[1.1] FAILED[1.1] DEAD_LETTERED[1.1]", ["PANICKED"], "DEAD_LETTERED", 1)
def panic(q: Ledger, clock: Clock, lease: dict) -> None:
    q.fail(lease, kind="PANICKED")


@life(5, "ENQUEUED LEASED[1.1] FAILED[1.1] RETRY_SCHEDULED[1.1]", ["TIMEOUT"], "PENDING")
def timeout(q: Ledger, clock: Clock, lease: dict) -> None:
    q.fail(lease, kind="TIMEOUT", code="job.timeout_exceeded")


@life(5, "ENQUEUED LEASED[1.1] FAILED[1.1] RETRY_SCHEDULED[1.1]", ["LEASE_EXPIRED"], "PENDING")
def worker_killed_while_running(q: Ledger, clock: Clock, lease: dict) -> None:
    clock.advance(61)
    q.reap()


@life(2, "ENQUEUED LEASED[1.1] CANCELED[1.1]", [None], "CANCELED")
def cancel_while_leased(q: Ledger, clock: Clock, lease: dict) -> None:
    q.row("cancel_job", job_id=lease["job_id"])
    q.finish_one(lease, "RELEASE", reason="stopped")


@life(1, "ENQUEUED LEASED[1.1] FAILED[1.1] DEAD_LETTERED[1.1] REQUEUED[1.1] LEASED[2.1] SUCCEEDED[2.1]", ["TERMINAL", None], "SUCCEEDED", 1)
def requeue_after_dead_letter(q: Ledger, clock: Clock, lease: dict) -> None:
    q.fail(lease, kind="TERMINAL")
    q.row("requeue_job", job_id=lease["job_id"])
    q.succeed(again(q, clock, lease, 0))


@life(1, "ENQUEUED LEASED[1.1] REQUEUED[1.1] LEASED[2.1] REQUEUED[2.1] LEASED[3.1] SUCCEEDED[3.1]", [None, None, None])
def continuation(q: Ledger, clock: Clock, lease: dict) -> None:
    for _ in range(2):
        q.row("continue_job", **lease)
        lease = again(q, clock, lease, 0)
    q.succeed(lease)


@life(1, "ENQUEUED LEASED[1.1] REQUEUED[1.1] LEASED[1.1] SUCCEEDED[1.1]", [None])
def release_then_success(q: Ledger, clock: Clock, lease: dict) -> None:
    q.release(lease)
    q.succeed(again(q, clock, lease, 0))


@life(
    1, "ENQUEUED LEASED[1.1] REQUEUED[1.1] LEASED[1.1] REQUEUED[1.1] LEASED[1.1] STAGE_CHANGED[1.1] SUCCEEDED[1.1]", [None]
)
def worker_killed_before_it_started(q: Ledger, clock: Clock, lease: dict) -> None:
    q.release(lease)
    lease = again(q, clock, lease, 0, prestart=True, lease_seconds=5)
    clock.advance(6)
    q.reap()
    lease = again(q, clock, lease, 0, prestart=True)
    q.start(lease)
    q.succeed(lease)


@pytest.mark.parametrize("name", LIVES)
def test_a_life_is_told_in_full(q: Ledger, clock: Clock, name: str):
    max_attempts, run, events, status, outcomes, dead = LIVES[name]
    lease = q.leased(max_attempts=max_attempts, payload={"a": 1})
    run(q, clock, lease)
    told = " ".join(f"{e}[{r}.{a}]" if a else e for e, r, a in q.told(lease["job_id"]))
    assert told == events
    attempts = q.db.attempts(lease["job_id"])
    assert [a["outcome"] for a in attempts] == outcomes
    assert all(a["finished_at"] for a in attempts)
    assert q.job(lease["job_id"])["status"] == status
    assert q.db.column("select attempt from runledger.job_dead_letters") == ([dead] if dead else [])


def test_each_event_carries_the_transaction_that_wrote_it(q: Ledger):
    with q.conn.transaction():
        lease = q.leased()
        xid = q.conn.execute("select pg_current_xact_id()::text").fetchone()[0]
    q.succeed(lease)
    rows = q.db.column("select transaction_id::text from runledger.job_events order by id")
    assert rows[:2] == [xid, xid]
    assert int(rows[2]) > int(xid)


def test_times_of_a_life_are_in_order(q: Ledger, clock: Clock):
    lease = q.leased()
    clock.advance(5)
    q.succeed(lease)
    job = q.job(lease["job_id"])
    times = q.db.column("select occurred_at from runledger.job_events order by id")
    assert times == sorted(times)
    assert job["created_at"] == times[0]
    assert job["started_at"] == times[1]
    assert job["finished_at"] == times[2]
