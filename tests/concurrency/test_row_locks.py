"""Which row a verb waits for, and that it does so by locking it first: before it reads what it decides on.

A verb that only met the lock in its update would wait just as long and decide on what it read before. PostgreSQL tells the
two apart in the context of the error: "while locking tuple" or "while updating tuple". Others never wait.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.functions.operations.test_prune import counted
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import Ledger

# So short since who holds the row goes on holding it.
HASTY = "-c lock_timeout=20ms"


class World:
    """Something for every verb to work on."""

    def __init__(self, db: Db, q: Ledger) -> None:
        self.db, self.q = db, q
        self.caller = q.on(options=HASTY)
        self.dead = q.dead()
        self.succeeded = q.leased()["job_id"]
        db.execute(
            "select runledger.succeed_job(id, lease_token) from runledger.job_queue where id = %s", [self.succeeded]
        )
        self.lease, self.prestart = q.leased(lease_seconds=3600), q.leased(lease_seconds=3600, prestart=True)
        self.run: Flow = Flows(q)(step("a"), gate("g"), step("b", ["a", "g"]))
        self.step = self.run.lease("a", lease_seconds=3600)
        self.pending = q.enqueue()
        q.row("upsert_schedule", name="s", job_type="t", cron="@daily")
        q.row("set_retention", finished=timedelta(days=2))

    @contextlib.contextmanager
    def held(self, table: str) -> Iterator[None]:
        """Every row of a table, by a transaction that goes on; the checks of foreign keys are not in its way."""
        with self.db.connect(autocommit=False) as rival:
            rival.execute(f"select from runledger.{table} for no key update".encode())
            yield
            rival.rollback()

    def failed(self, lease: dict[str, Any]) -> dict[str, Any]:
        return {**lease, "outcome": "FAILED", "error_code": "e.x"}


def catalog(definitions: list[Any], schedules: list[Any]) -> dict[str, Any]:
    return {"catalog": "c", "definitions": definitions, "schedules": schedules}


SCHEDULE = {"name": "s", "job_type": "t", "cron": "@hourly"}
# The rows that a rival holds, the function that locks them, and the call that gets there.
WAITS: list[tuple[str, str, Callable[[World], Any]]] = [
    ("job_queue", "start_jobs", lambda w: w.caller.start(w.prestart)),
    ("job_queue", "finish_jobs", lambda w: w.caller.finish(w.failed(w.lease))),
    ("job_queue", "_require_lease", lambda w: w.caller.row("report_progress", **w.lease, done=1)),
    ("job_queue", "cancel_job", lambda w: w.caller.row("cancel_job", job_id=w.pending)),
    ("job_queue", "requeue_job", lambda w: w.caller.row("requeue_job", job_id=w.dead)),
    ("job_queue", "redact_job", lambda w: w.caller.row("redact_job", job_id=w.dead, reason="r")),
    ("job_queue", "replay_job", lambda w: w.caller.row("replay_job", job_id=w.succeeded, request_key="k", reason="r")),
    ("job_queue", "correct_payload", lambda w: w.caller.row("correct_payload", job_id=w.pending, payload={}, reason="r")),
    ("job_queue", "cancel_workflow", lambda w: w.run.__class__(w.caller, w.run.id, {}).cancel()),
    ("job_queue", "_repair_run", lambda w: w.caller.conn.execute("select runledger._repair_run(%s)", [w.run.id])),
    ("workflow_runs", "_repair_run", lambda w: w.caller.conn.execute("select runledger._repair_run(%s)", [w.run.id])),
    ("workflow_runs", "_lock_runs", lambda w: w.caller.finish(w.failed(w.step))),
    ("workflow_runs", "_succeed_jobs", lambda w: w.caller.finish({**w.step, "outcome": "SUCCEEDED"})),
    ("workflow_runs", "_lock_runs", lambda w: w.caller.row("cancel_job", job_id=w.step["job_id"])),
    ("workflow_runs", "_lock_run", lambda w: w.run.__class__(w.caller, w.run.id, {}).cancel()),
    ("workflow_runs", "_lock_run", lambda w: w.run.__class__(w.caller, w.run.id, {}).append(step("x", "a"))),
    ("workflow_runs", "_lock_run", lambda w: w.run.__class__(w.caller, w.run.id, {}).complete("g")),
    ("workflow_steps", "complete_external_step", lambda w: w.run.__class__(w.caller, w.run.id, {}).complete("g")),
    ("job_definitions", "define_job", lambda w: w.caller.define("t", max_attempts=9)),
    ("job_definitions", "_require_schedule_types", lambda w: w.caller.row("upsert_schedule", **{**SCHEDULE, "name": "new"})),
    ("job_definitions", "_lock_catalog", lambda w: w.caller.rows("sync_catalog", **catalog([{"job_type": "t"}], []))),
    ("job_schedules", "upsert_schedule", lambda w: w.caller.row("upsert_schedule", **SCHEDULE)),
    ("job_schedules", "_lock_schedule", lambda w: w.caller.row("pause_schedule", name="s")),
    ("job_schedules", "_lock_schedule", lambda w: w.caller.row("resume_schedule", name="s")),
    ("job_schedules", "_lock_schedule", lambda w: w.caller.row("delete_schedule", name="s")),
    ("job_schedules", "_lock_catalog", lambda w: w.caller.rows("sync_catalog", **catalog([], [SCHEDULE]))),
    ("retention_settings", "set_retention", lambda w: w.caller.row("set_retention", finished=timedelta(days=3))),
    ("upkeep_state", "_notice_timeline", lambda w: w.caller.conn.execute("select runledger._notice_timeline(now())")),
    ("upkeep_state", "_roll_up", lambda w: w.caller.conn.execute("select runledger._roll_up(0, 10, now())")),
]  # fmt: skip


def waited_for(world: World, table: str, call: Callable[[World], Any]) -> str:
    """Which function waited, for a row of which table, and whether in a lock or in an update."""
    with world.held(table):
        try:
            call(world)
        except psycopg.errors.LockNotAvailable as error:
            context = error.diag.context or ""
            how = re.search(r'while (\w+) tuple \(\d+,\d+\) in relation "(\w+)"', context)
            where = re.search(r"PL/pgSQL function runledger\.(\w+)\(", context)
            return f"{where and where[1]} {how and how[1]} {how and how[2]}"
    return "did not wait"


def test_the_row_is_locked_before_it_is_read(db: Db, q: Ledger):
    world = World(db, q)
    before = q.snapshot()
    wrong = [
        (table, function, found)
        for table, function, call in WAITS
        if (found := waited_for(world, table, call)) != f"{function} locking {table}"
    ]
    assert not wrong, wrong
    assert q.snapshot() == before


class Batch:
    """Leases of several runs and of none, so that no order of runs is that of the jobs."""

    def __init__(self, db: Db, q: Ledger, clock: Clock) -> None:
        self.db, self.q = db, q
        # The first step of the first run is younger than the steps of the second.
        first = Flows(q)(step("a", ["g"]), step("b"), gate("g"))
        self.hot = [q.enqueue()]
        self.run: Flow = Flows(q)(step("a"), step("b"))
        first.complete("g")
        self.hot += [q.enqueue(), q.enqueue()]
        clock.advance(1)
        claimed = q.claim(100, "t")
        self.leases = {c["job_id"]: {k: c[k] for k in ("job_id", "lease_token")} for c in claimed}
        self.of_run = [c["job_id"] for c in claimed if c["workflow_run_id"] == self.run.id]
        assert (len(claimed), len(self.of_run)) == (7, 2)
        self.caller = q.on(options=HASTY)

    def outcomes(self, order: list[Any], **outcome: Any) -> list[dict[str, Any]]:
        return [{**self.leases[job], **outcome} for job in order]

    def waits_at(self, held: list[Any], call: Callable[[Batch, list[Any]], Any], order: list[Any]) -> Any:
        """The job at which the caller waits while a rival holds these."""
        with self.db.connect(autocommit=False) as rival:
            rival.execute("select from runledger.job_queue where id = any (%s) for update", [held])
            try:
                call(self, order)
            except psycopg.errors.LockNotAvailable as error:
                found = re.search(r'while \w+ tuple (\(\d+,\d+\)) in relation "job_queue"', error.diag.context or "")
                return found and self.db.value("select id from runledger.job_queue where ctid = %s::tid", [found[1]])
            finally:
                rival.rollback()
        return None


BATCHES: dict[str, Callable[[Batch, list[Any]], Any]] = {
    "start_jobs": lambda b, order: b.caller.start(*(b.leases[job] for job in order)),
    "plain successes": lambda b, order: b.caller.finish(*b.outcomes(order, outcome="SUCCEEDED")),
    "mixed outcomes": lambda b, order: b.caller.finish(
        *b.outcomes(order[:1], outcome="RELEASE", reason="r"), *b.outcomes(order[1:], outcome="SUCCEEDED")
    ),
    "cancel_workflow": lambda b, _: b.run.__class__(b.caller, b.run.id, {}).cancel(),
    "_repair_run": lambda b, _: b.caller.conn.execute("select runledger._repair_run(%s)", [b.run.id]),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_the_jobs_of_a_batch_are_locked_by_id(db: Db, q: Ledger, clock: Clock, batch: str):
    """Whatever runs they are of and in whatever order they are given; else two batches would meet crosswise."""
    world = Batch(db, q, clock)
    jobs = sorted(world.leases if batch in ("start_jobs", "plain successes", "mixed outcomes") else world.of_run)
    before = q.snapshot()
    for order in (jobs, jobs[::-1], jobs[1::2] + jobs[::2]):
        for n, job in enumerate(jobs):
            assert world.waits_at(jobs[n:], BATCHES[batch], order) == job
    assert q.snapshot() == before


def test_a_sync_waits_for_a_sync_of_the_same_catalog(db: Db, q: Ledger):
    with db.connect(autocommit=False) as rival:
        q.on(rival).rows("sync_catalog", **catalog([{"job_type": "a"}], []))
        caller = q.on(options=HASTY)
        with pytest.raises(psycopg.errors.LockNotAvailable) as refused:
            caller.rows("sync_catalog", **catalog([{"job_type": "a"}], []))
        assert "_sync_catalog" in (refused.value.diag.context or "")
        # Another catalog is nobody's business.
        assert caller.rows("sync_catalog", catalog="other", definitions=[{"job_type": "b"}], schedules=[])
        rival.rollback()


class Due:
    """Work for every verb that never waits, and what each of them finds once nobody holds it."""

    def __init__(self, db: Db, q: Ledger, clock: Clock) -> None:
        self.db, self.clock = db, clock
        q.define("few", max_concurrency=5)
        q.define("u")
        q.define("crowd")
        flows = Flows(q)
        self.old = flows(step("a"), step("b"))
        for key in "ab":
            self.old.finish(key)
        self.canceled = flows(step("a"), gate("g"))
        self.canceled.cancel()
        marked = flows(step("a"), step("b", "a"))
        marked.cancel()
        q.succeed(q.leased())
        q.row("register_worker", worker_id="gone", job_types=["t"])
        clock.advance(timedelta(days=30))
        # One that an earlier call of prune has left half done.
        q.rows("prune", older_than=timedelta(days=365))
        mark = "select runledger._mark_runs(array[%s::uuid], runledger._now(), runledger._now(), runledger._now())"
        db.execute(mark, [marked.id])
        self.dead = q.dead()
        self.lost = q.leased(lease_seconds=1)
        # Its end would change its run.
        self.run = flows(step("a", max_attempts=1), gate("g", timeout_seconds=1, on_timeout="FAILED"))
        self.run.lease("a", lease_seconds=1)
        q.row("upsert_schedule", name="s", job_type="t", cron="* * * * *")
        clock.advance(timedelta(hours=1))
        self.alive = q.leased(lease_seconds=3600)
        # So many of a type that nobody here claims that the others are looked for in lanes of their own.
        q.enqueue_many(70, "crowd")
        self.pending = [q.enqueue(), q.enqueue(), q.enqueue("few"), q.enqueue("u"), q.enqueue("u")]
        # What is not counted yet would be kept by prune.
        counted(db)
        self.caller = q.on(options=HASTY)

    def beat(self) -> int:
        return self.caller.beat(self.alive).count("EXTENDED")

    def reap(self) -> list[Any]:
        """It passes over what it cannot have; to meet a lock in the middle would put a job off."""
        reaped = self.caller.reap()
        assert [r for r in reaped if r["disposition"] == "DEFERRED"] == []
        return reaped

    def call(self, verb: str) -> int:
        """How much it found to do."""
        rows = {
            "claim_jobs": lambda: self.caller.claim(1, "t", worker="w2"),
            "claim_jobs behind others": lambda: self.caller.claim(2, "t", "u", worker="w2"),
            "claim_jobs of two types": lambda: self.caller.claim(2, "crowd", "u", worker="w2"),
            "claim_jobs of several types": lambda: self.caller.claim(2, "t", "few", worker="w2"),
            "claim_jobs under a limit": lambda: self.caller.claim(1, "few", worker="w2"),
            "heartbeat_jobs": lambda: [1] * self.beat(),
            "reap_expired_leases": self.reap,
            "redrive_dead_letters": lambda: self.caller.rows("redrive_dead_letters", reason="r"),
            "fire_due_schedules": lambda: self.caller.rows("fire_due_schedules"),
            "time out gates": lambda: [1] * self.caller.conn.execute("select runledger._time_out_gates(10, runledger._now())").fetchone()[0],  # type: ignore[index]
            "prune": lambda: [r for r in self.caller.rows("prune", older_than=timedelta(days=1)) if r["affected"]],
            "run_maintenance": lambda: [r for r in self.caller.rows("run_maintenance") if r["affected"]],
        }[verb]()  # fmt: skip
        return len(rows)


NEVER_WAIT = [
    "heartbeat_jobs", "claim_jobs under a limit", "claim_jobs of several types", "claim_jobs behind others",
    "claim_jobs of two types", "claim_jobs", "reap_expired_leases", "redrive_dead_letters", "fire_due_schedules", "time out gates", "prune", "run_maintenance",
]  # fmt: skip
HELD = ["job_queue", "workflow_runs", "job_schedules", "workers", "upkeep_state", "prune_passes"]


@pytest.mark.parametrize("table", HELD)
def test_these_never_wait(db: Db, q: Ledger, clock: Clock, table: str):
    """Whatever rows are held, they pass them over; afterwards those are found."""
    due = Due(db, q, clock)
    told = {}
    with db.connect(autocommit=False) as rival:
        rival.execute(f"select from runledger.{table} for update".encode())
        for verb in NEVER_WAIT:
            told[verb] = due.call(verb)
        rival.rollback()
    nothing = {
        "job_queue": {v for v in NEVER_WAIT if v.startswith("claim")} | {"reap_expired_leases", "redrive_dead_letters"},
        "workflow_runs": {"time out gates"}, "job_schedules": {"fire_due_schedules"}, "upkeep_state": {"run_maintenance"},
        "prune_passes": {"prune"}, "workers": set(),
    }[table]  # fmt: skip
    assert {verb: told[verb] for verb in nothing} == dict.fromkeys(nothing, 0)
    if table == "workers":
        assert db.column("select worker_id from runledger.workers") == ["gone"]
    else:
        assert sum(told.values()) > 0
    clock.advance(1)
    after = {verb: due.call(verb) for verb in NEVER_WAIT}
    assert all(after[verb] for verb in nothing), after
    if table == "workers":
        due.call("run_maintenance")
        assert db.column("select worker_id from runledger.workers") == []
