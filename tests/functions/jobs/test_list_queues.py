"""list_queues, list_waiting_jobs, list_running_jobs: what is going on now, at a bounded cost."""

from __future__ import annotations

from datetime import timedelta
from itertools import combinations
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import LATER, NOBODY, OTHER_TENANT, TENANT, Ledger


def queue(q: Ledger, job_type: str = "t") -> dict[str, Any]:
    return next(r for r in q.rows("list_queues") if r["job_type"] == job_type)


def test_a_type_without_jobs_is_told_too(q: Ledger):
    assert queue(q) == {
        "job_type": "t", "is_enabled": True, "disabled_reason": None, "is_paused": False, "paused_reason": None,
        "max_concurrency": None, "workers": 0, "ready": 0, "delayed": 0, "counted_to": 10_000, "oldest_ready_at": None,
        "running": 0, "lost": 0, "dead": 0, "finished": 0, "failed": 0,
    }  # fmt: skip


def test_each_number_counts_what_it_says(q: Ledger, clock: Clock):
    q.define("t", max_concurrency=7)
    q.row("register_worker", worker_id="silent", job_types=["t"])
    clock.advance(200)
    q.row("register_worker", worker_id="w1", job_types=["t", "u"])
    lost, running, done, dead, retried = (q.leased(lease_seconds=60) for _ in range(5))
    q.succeed(done)
    q.fail(dead, kind="TERMINAL")
    q.fail(retried, not_before=clock.now() + LATER)
    ready = q.enqueue()
    clock.advance(61)
    q.beat(running)
    q.row("pause_job_type", job_type="t", reason="deploy")
    row = queue(q)
    assert (row["ready"], row["delayed"], row["running"], row["lost"], row["dead"]) == (1, 1, 2, 2, 1)
    assert (row["finished"], row["failed"], row["workers"], row["max_concurrency"]) == (2, 2, 1, 7)
    assert row["oldest_ready_at"] == q.job(ready)["next_run_at"]
    assert (row["is_paused"], row["paused_reason"]) == (True, "deploy")
    assert lost != running


def test_a_letter_that_was_requeued_is_no_longer_dead(q: Ledger):
    leases = [q.leased() for _ in range(3)]
    for lease in leases:
        q.fail(lease, kind="TERMINAL")
    assert queue(q)["dead"] == 3
    q.row("requeue_job", job_id=leases[0]["job_id"])
    assert (queue(q)["dead"], queue(q)["finished"]) == (2, 3)


def test_ends_are_told_alike_before_and_after_they_are_counted(db: Db, q: Ledger):
    for n in range(4):
        lease = q.leased()
        q.succeed(lease) if n else q.fail(lease)
    before = queue(q)
    assert (before["finished"], before["failed"]) == (3, 1)
    counted = 0
    while not counted:  # rolling up takes a mark first, and counts up to it the next time
        counted = sum(r["affected"] for r in q.rows("run_maintenance") if r["task"] == "rollup")
    assert db.value("select sum(events) from runledger.job_metrics_totals where outcome = 'SUCCEEDED'") == 3
    assert queue(q) == before


def test_without_upkeep_ends_are_not_told_and_history_is_not_read(db: Db, q: Ledger):
    lease = q.leased()
    q.succeed(lease)
    [event] = [q.event(lease["job_id"], "SUCCEEDED")]
    with q.conn.transaction(force_rollback=True):
        for more, told in ((19_999, 20_000), (1, None)):
            db.execute(
                "insert into runledger.job_events (job_id, run_number, attempt, event_type, occurred_at)"
                " select %(job_id)s, 1, 1, 'SUCCEEDED', %(at)s from generate_series(1, %(more)s)",
                {"job_id": lease["job_id"], "at": event["occurred_at"], "more": more},
            )
            assert queue(q)["finished"] == told
        row = queue(q)
        db.execute("delete from runledger.job_events where job_id = %s and id > %s", [lease["job_id"], event["id"]])
    assert (row["finished"], row["failed"]) == (None, None)
    assert queue(q)["finished"] == 1


def test_counting_ends_at_a_bound_that_shrinks_with_the_types(db: Db, q: Ledger):
    q.enqueue_many(150)
    assert (queue(q)["ready"], queue(q)["counted_to"]) == (150, 10_000)
    for n in range(1000):
        q.define(f"x{n:03}")
    rows = q.rows("list_queues", max_rows=1000)
    told = {r["job_type"]: r for r in rows}
    assert len(rows) == 1000
    assert (told["t"]["ready"], told["t"]["counted_to"]) == (100, 100)
    assert [r["job_type"] for r in rows] == sorted(told)
    assert [r["job_type"] for r in q.rows("list_queues", after_type="x001", max_rows=2)] == ["x002", "x003"]
    assert [r["job_type"] for r in q.rows("list_queues", contains="X99", max_rows=1000)] == [
        f"x99{n}" for n in range(10)
    ]
    assert q.rows("list_queues", contains="%") == []


def test_waiting_jobs_come_in_the_order_of_claiming(q: Ledger, clock: Clock):
    q.define("u")
    q.enqueue("u")
    jobs = [
        q.enqueue(priority=level, run_at=clock.now() + timedelta(minutes=late), organization_id=tenant)
        for level in (1, 5, 2**31 - 1, -5)
        for late, tenant in ((3, None), (0, TENANT), (90, OTHER_TENANT))
    ]
    clock.advance(600)
    rows = q.rows("list_waiting_jobs", job_type="t")
    assert {r["job_id"] for r in rows} == set(jobs)
    assert [r["job_id"] for r in rows if r["next_run_at"] <= clock.now()] == q.ids(100)
    q.define("t")
    seen: list[Any] = []
    place: dict[str, Any] = {}
    left = q.rows("list_waiting_jobs", job_type="t")
    while page := q.rows("list_waiting_jobs", job_type="t", max_rows=1, **place):
        seen += page
        place = {f"after_{k}": page[-1][k] for k in ("priority", "next_run_at")} | {"after_id": page[-1]["job_id"]}
    assert seen == left
    assert q.rows("list_waiting_jobs", job_type="t", organization_id=TENANT) == []
    assert q.rows("list_waiting_jobs", job_type=None) == []


def test_pages_of_waiting_jobs_go_over_levels(q: Ledger):
    ids = [q.enqueue(priority=level) for level in (9, 9, 9, 4, 4, 4)]
    rows = q.rows("list_waiting_jobs", job_type="t")
    assert [r["job_id"] for r in rows] == ids
    place = {"after_priority": 9, "after_next_run_at": rows[1]["next_run_at"], "after_id": ids[1]}
    assert [r["job_id"] for r in q.rows("list_waiting_jobs", job_type="t", max_rows=3, **place)] == ids[2:5]


def test_running_jobs_come_longest_held_first(q: Ledger, clock: Clock):
    q.define("u.slow")
    leases = []
    for n in range(4):
        leases.append(
            q.leased("u.slow" if n % 2 else "t", organization_id=TENANT if n % 2 else None, lease_seconds=900)
        )
        clock.advance(10)
    q.row("report_progress", **leases[1], done=1, total=4, stage="half")
    ids = [lease["job_id"] for lease in leases]
    rows = q.rows("list_running_jobs")
    assert [r["job_id"] for r in rows] == ids
    [attempt] = q.db.attempts(ids[1])
    assert (rows[1]["claimed_at"], rows[1]["started_at"]) == (attempt["leased_at"], attempt["started_at"])
    assert (rows[1]["stage"], rows[1]["progress_pct"], rows[1]["worker_id"]) == ("half", 25, "w1")
    place = {"after_claimed_at": rows[1]["claimed_at"], "after_id": ids[1]}
    assert [r["job_id"] for r in q.rows("list_running_jobs", max_rows=1, **place)] == ids[2:3]
    assert [r["job_id"] for r in q.rows("list_running_jobs", organization_id=TENANT)] == ids[1::2]
    assert [r["job_id"] for r in q.rows("list_running_jobs", contains="SLOW")] == ids[1::2]
    assert [r["job_id"] for r in q.rows("list_running_jobs", job_type="t")] == ids[::2]
    q.succeed(leases[0])
    q.row("cancel_job", job_id=ids[1])
    rows = q.rows("list_running_jobs")
    assert [(r["job_id"], r["status"], r["worker_id"]) for r in rows] == [
        (ids[1], "CANCELED", "w1"), (ids[2], "LEASED", "w1"), (ids[3], "LEASED", "w1"),
    ]  # fmt: skip


def test_a_retry_is_held_since_it_was_claimed_again(q: Ledger, clock: Clock):
    lease = q.leased()
    q.fail(lease, not_before=clock.now() + timedelta(seconds=1))
    clock.advance(50)
    q.hold(lease["job_id"])
    [row] = q.rows("list_running_jobs")
    first, second = q.db.attempts(lease["job_id"])
    assert (row["claimed_at"], row["attempt"]) == (second["leased_at"], 2)
    assert row["claimed_at"] - first["leased_at"] > timedelta(seconds=49)


@pytest.mark.parametrize(
    ("function", "place"),
    [
        ("list_waiting_jobs", {"after_priority": 0, "after_next_run_at": "2030-01-01", "after_id": NOBODY}),
        ("list_running_jobs", {"after_claimed_at": "2030-01-01", "after_id": NOBODY}),
    ],
)
def test_a_place_in_a_queue_is_whole(q: Ledger, function: str, place: dict[str, Any]):
    asked = {"job_type": "t"}
    assert q.rows(function, **asked, **place) == []
    for size in range(1, len(place)):
        for names in combinations(place, size):
            with q.refused("job.invalid_cursor", "RL010"):
                q.rows(function, **asked, **{name: place[name] for name in names})
