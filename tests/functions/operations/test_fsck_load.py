"""A live system gives no false alarm: fsck and health again and again, while everything that can happen happens."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.database import Db
from tests.support.flows import gate, step
from tests.support.ledger import Ledger

SHAPES = [
    [step("a"), step("b", "a"), step("c", always="b")],
    [step("a"), step("b"), step("c", ["a", "b"]), step("d", always=["a", "b"]), step("e", "d")],
    [step("a"), gate("g", "a"), step("b", "g")],
    [gate("g", timeout_seconds=1, on_timeout="CANCELED"), step("a", "g"), step("z", always="a")],
    [step("a", allow_continuation=True), *(step(f"s{n}", "a") for n in range(8))],
]
# Everything that must have happened before a run of the short test is worth something.
EVENTS = {"ENQUEUED", "LEASED", "SUCCEEDED", "RETRY_SCHEDULED", "FAILED", "DEAD_LETTERED", "CANCELED", "REQUEUED"}
RUNS = {"SUCCEEDED", "COMPLETED_WITH_ERRORS", "CANCELED"}


class Hand(threading.Thread):
    """Does `work` with a ledger of its own until told to stop. A refusal is an answer like any other."""

    def __init__(self, work: Callable[[Ledger, random.Random, str], object], ledger: Ledger, name: str) -> None:
        super().__init__(daemon=True, name=name)
        self.work, self.ledger, self.random = work, ledger, random.Random(name)
        self.stop = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                try:
                    self.work(self.ledger, self.random, self.name)
                except psycopg.Error as refused:
                    if not (refused.sqlstate or "").startswith("RL0"):
                        raise
        except BaseException as error:
            self.error = error


def outcome(q: Ledger, dice: random.Random, lease: dict[str, Any]) -> dict[str, Any]:
    match dice.randint(0, 9):
        case 0 | 1:
            return {**lease, "outcome": "FAILED", "error_code": "e.x", "error_message": "no"}
        case 2:
            return {**lease, "outcome": "FAILED", "kind": "TERMINAL", "error_code": "e.y", "error_message": "no"}
        case 3:
            return {**lease, "outcome": "CONTINUE", "done": 1}
        case 4:
            return {**lease, "outcome": "RELEASE", "reason": "shutdown"}
        case 5:
            q.row("report_progress", **lease, done=1, stage="halfway")
            q.beat(lease)
    return {**lease, "outcome": "SUCCEEDED", "output": {"n": 1}}


def run_jobs(q: Ledger, dice: random.Random, name: str) -> None:
    """A worker that does to its jobs whatever comes to its mind."""
    prestart = dice.random() < 0.2
    claimed = q.claim(dice.randint(1, 6), "free", "limited", "t", worker=name, prestart=prestart)
    if not claimed:
        q.rows("redrive_dead_letters", reason="go on", max_jobs=20)
        q.enqueue_many(5, dice.choice(("free", "limited")), max_attempts=3)
    leases = [{k: c[k] for k in ("job_id", "lease_token")} for c in claimed]
    if prestart and leases:
        q.start(*leases)
    outcomes = []
    for lease in leases:
        if dice.random() < 0.1:
            q.row("cancel_job", job_id=lease["job_id"])
            if dice.random() < 0.5:
                outcomes.append({**lease, "outcome": "RELEASE", "reason": "stopped"})
        else:
            outcomes.append(outcome(q, dice, lease))
    if outcomes:
        q.finish(*outcomes)


def abandon_jobs(q: Ledger, dice: random.Random, name: str) -> None:
    """A worker that dies with its jobs, and an operator who requeues what was canceled."""
    q.claim(1, "free", "t", worker=name, lease_seconds=1)
    canceled = q.db.database.connect()
    try:
        found = canceled.execute(
            "select id from runledger.job_queue where status = 'CANCELED' and workflow_run_id is null limit 5"
        ).fetchall()
    finally:
        canceled.close()
    for (job_id,) in found:
        q.row("requeue_job", job_id=job_id, reason="after all")


def run_workflows(q: Ledger, dice: random.Random, name: str) -> None:
    """Starts runs, opens gates, appends and cancels."""
    key = {"active_key": f"k{dice.randint(0, 3)}"} if dice.random() < 0.5 else {}
    shape = dice.choice(SHAPES)
    run = {"workflow_run_id": q.row("enqueue_workflow", workflow_type="w", steps=shape, **key)["workflow_run_id"]}
    keys = [s["key"] for s in shape]
    match dice.randint(0, 5):
        case 0:
            q.row("cancel_workflow", **run)
        case 1 | 2 if "g" in keys:
            q.rows(
                "append_workflow_steps", **run, append_window="g", mutation_key="m", steps=[step("x"), step("y", "x")]
            )
        case 3 if "g" in keys:
            q.row("complete_external_step", **run, step_key="g", outcome=dice.choice(("SUCCEEDED", "FAILED")))


def keep_up(q: Ledger, dice: random.Random, name: str) -> None:
    """Reaper, scheduler, gate timeouts, maintenance."""
    q.rows("reap_expired_leases", max_jobs=dice.randint(1, 50))
    q.rows("fire_due_schedules")
    q.rows("run_maintenance")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.soak)], ids=["short", "a_minute"])
def test_nothing_is_found_under_load(q: Ledger, db: Db, seconds: int):
    for job_type, settings in {"free": {}, "limited": {"max_concurrency": 3}, "t": {}}.items():
        q.define(job_type, retry_base_ms=1, retry_max_ms=1, **settings)
        q.enqueue_many(40, job_type, max_attempts=3)
    for name, missed in (("each", "ALL"), ("once", "ONCE")):
        q.row("upsert_schedule", name=name, job_type="free", cron="* * * * * *", missed=missed)
    work = [run_jobs] * 4 + [run_workflows, abandon_jobs, keep_up]
    hands = [Hand(what, q.on(), f"{what.__name__}-{n}") for n, what in enumerate(work)]
    for hand in hands:
        hand.start()
    until = time.monotonic() + seconds
    looks, found = 0, []
    while not found and not any(hand.error for hand in hands) and (time.monotonic() < until or not all_happened(db)):
        found = q.rows("fsck", scope="full" if looks % 4 else "fast")
        # What is not sound has no place in the ledger; whether it is well, and how slow this machine is, may vary.
        assert len(q.rows("health")) == db.value("select count(*) from runledger._health_bounds()")
        looks += 1
    for hand in hands:
        hand.stop.set()
    for hand in hands:
        hand.join(60)
    assert [hand.error for hand in hands if hand.error] == []
    assert found == []
    assert looks > 3
    assert q.rows("fsck") == []


def all_happened(db: Db) -> bool:
    """Every kind of event and of end of a run, reaped leases, fires, and a thousand attempts."""
    events = set(db.column("select distinct event_type::text from runledger.job_events"))
    runs = set(db.column("select distinct status::text from runledger.workflow_runs"))
    return (
        events >= EVENTS
        and runs >= RUNS
        and db.value("select count(*) from runledger.job_attempts where outcome = 'LEASE_EXPIRED'") > 0
        and db.value("select count(*) from runledger.job_queue where schedule_id is not null") > 0
        and db.value("select count(*) from runledger.job_attempts") >= 1000
    )
