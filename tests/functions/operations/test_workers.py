"""register_worker, idle_worker, deregister_worker, and who is woken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import psycopg
import pytest

from runledger import embedded
from runledger.migrate import migrate
from runledger.testing import DatabaseServer
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger, Raw


class Listener:
    """What came over the channel since the last look."""

    def __init__(self, db: Db) -> None:
        self.db = db
        self.conn = db.connect()
        self.conn.execute("listen runledger_wake")

    def heard(self) -> list[str]:
        """The job types that were called, in order. A marker of our own tells that everything before it has arrived."""
        self.db.execute("notify runledger_wake, 'end'")
        names = {
            key: name
            for name, key in self.db.conn.execute(
                "select d.job_type, runledger._wake_key(d.job_type) from runledger.job_definitions d"
            )
        }
        found = []
        for note in self.conn.notifies(timeout=30):
            if note.payload == "end":
                return found
            assert note.channel == "runledger_wake"
            found.append(names[note.payload])
        raise AssertionError("the marker never came")


@pytest.fixture
def listener(db: Db, q: Ledger) -> Iterator[Listener]:
    return Listener(db)


def idle(q: Ledger, clock: Clock, *types: str, worker: str = "w1", seconds: float = 600) -> dict:
    q.row("register_worker", worker_id=worker, job_types=list(types or ["t"]))
    return q.row("idle_worker", worker_id=worker, until=clock.now() + timedelta(seconds=seconds))


def test_a_worker_says_what_it_is(db: Db, q: Ledger):
    row = q.row("register_worker", worker_id="w1", job_types=["t", "u"], max_jobs=8, metadata={"host": "a"})
    assert row == {"worker_id": "w1", "next_due_at": None}
    worker = db.one("select * from runledger.workers")
    owner = q.conn.execute("select session_user::text").fetchone()[0]
    assert (worker["job_types"], worker["max_jobs"], worker["metadata"], worker["role_name"]) == (
        ["t", "u"],
        8,
        {"host": "a"},
        owner,
    )
    assert worker["registered_at"] == worker["last_seen_at"]
    assert worker["idle_until"] is None


def test_registering_again_refreshes(db: Db, q: Ledger, clock: Clock):
    idle(q, clock)
    first = db.one("select * from runledger.workers")
    clock.advance(30)
    q.row("register_worker", worker_id="w1", job_types=["u"], max_jobs=2)
    second = db.one("select * from runledger.workers")
    assert (second["job_types"], second["max_jobs"], second["registered_at"]) == (["u"], 2, first["registered_at"])
    assert second["last_seen_at"] > first["last_seen_at"]
    assert second["idle_until"] == first["idle_until"]


def test_a_worker_may_go(q: Ledger, clock: Clock, listener: Listener):
    idle(q, clock)
    assert q.row("deregister_worker", worker_id="w1")["deregister_worker"] is True
    assert q.row("deregister_worker", worker_id="w1")["deregister_worker"] is False
    q.enqueue()
    assert listener.heard() == []
    # Nobody has to be registered to work.
    assert len(q.claim(worker="w1")) == 1


def test_idle_says_when_the_next_job_becomes_due(q: Ledger, clock: Clock):
    for name in ("u", "paused"):
        q.define(name)
    q.row("pause_job_type", job_type="paused")
    assert idle(q, clock)["next_due_at"] is None
    due = [clock.now() + timedelta(seconds=n) for n in (300, 100, 200, 5)]
    q.enqueue("t", run_at=due[0], priority=500)
    q.enqueue("t", run_at=due[1])
    q.enqueue("u", run_at=due[2])
    q.enqueue("paused", run_at=due[3])
    assert idle(q, clock, "t", "paused")["next_due_at"] == due[1]
    assert idle(q, clock, "u")["next_due_at"] == due[2]
    assert idle(q, clock, "t", "u", "paused")["next_due_at"] == due[1]
    assert idle(q, clock, "nobody")["next_due_at"] is None
    assert q.row("idle_worker", worker_id="w1", until=None)["next_due_at"] is None


def test_an_idle_worker_is_woken_once_per_type_and_transaction(q: Ledger, clock: Clock, listener: Listener):
    q.define("u")
    idle(q, clock, "t", "u")
    q.enqueue()
    assert listener.heard() == ["t"]
    with q.conn.transaction():
        for _ in range(5):
            q.enqueue("t")
        q.enqueue("u")
        assert listener.heard() == []
    assert listener.heard() == ["t", "u"]
    q.rows("enqueue_jobs", jobs=[{"job_type": "t"}] * 20 + [{"job_type": "u"}] * 20)
    assert sorted(listener.heard()) == ["t", "u"]
    # Two workers are woken by one call.
    idle(q, clock, "t", worker="w2")
    q.enqueue()
    assert listener.heard() == ["t"]


def test_nobody_is_called_when_nobody_is_idle(db: Db, q: Ledger, clock: Clock, listener: Listener):
    q.define("u")
    q.enqueue()
    idle(q, clock, "u")
    q.enqueue()
    idle(q, clock, "t", seconds=5)
    clock.advance(6)
    q.enqueue()
    idle(q, clock, "t")
    q.row("idle_worker", worker_id="w1", until=None)
    q.enqueue()
    q.rows("enqueue_jobs", jobs=[{"job_type": "t"}])
    # Busy with t, while another is idle for u.
    idle(q, clock, "u", worker="w2")
    q.enqueue()
    assert listener.heard() == []


def test_what_is_not_due_wakes_nobody(q: Ledger, clock: Clock, listener: Listener):
    idle(q, clock)
    later = clock.now() + timedelta(hours=1)
    q.enqueue(run_at=later)
    q.rows("enqueue_jobs", jobs=[{"job_type": "t", "run_at": later.isoformat()}, {"job_type": "nobody"}])
    first = q.enqueue(idempotency_key="k")
    assert listener.heard() == ["t"]
    assert q.enqueue(idempotency_key="k") == first
    assert listener.heard() == []


def test_whatever_makes_a_job_available_wakes(q: Ledger, clock: Clock, listener: Listener):
    idle(q, clock)
    lease = q.leased()
    dead = q.dead()
    done = q.leased()
    q.succeed(done)
    listener.heard()
    q.release(lease)
    assert listener.heard() == ["t"]
    q.row("continue_job", **q.hold(lease["job_id"]))
    assert listener.heard() == ["t"]
    q.row("requeue_job", job_id=dead)
    assert listener.heard() == ["t"]
    q.row("replay_job", job_id=done["job_id"], request_key="k", reason="r")
    assert listener.heard() == ["t"]
    claims = q.claim(10, lease_seconds=5)
    q.row("cancel_job", job_id=claims[0]["job_id"])
    q.fail({k: claims[1][k] for k in ("job_id", "lease_token")}, kind="TERMINAL")
    assert listener.heard() == []
    q.rows("redrive_dead_letters", reason="fixed")
    assert listener.heard() == ["t"]
    clock.advance(6)
    idle(q, clock)
    q.reap(retry_delay=timedelta(0))
    assert listener.heard() == ["t"]
    # A delay wakes nobody; the worker knows when the job is due.
    [claimed] = q.claim(1)
    q.release({k: claimed[k] for k in ("job_id", "lease_token")}, delay=timedelta(seconds=5))
    assert listener.heard() == []


def test_a_rolled_back_enqueue_wakes_nobody(q: Ledger, clock: Clock, listener: Listener):
    idle(q, clock)
    other = q.on(autocommit=False)
    other.enqueue()
    other.conn.rollback()
    assert listener.heard() == []


@pytest.mark.slow
def test_an_enqueue_that_calls_somebody_cannot_be_prepared(pg: DatabaseServer):
    """PostgreSQL has no two-phase commit for NOTIFY: what OPERATIONS.md says of it."""
    assert pg.server is not None
    settings = {**embedded.FAST, "max_prepared_transactions": "1"}
    with (
        embedded.Server(pg.server.bindir, settings=settings) as server,
        psycopg.connect(server.dsn(), autocommit=True) as conn,
    ):
        migrate(server.dsn())
        conn.execute("select runledger.define_job('t'), runledger.register_worker('w', '{t}')")
        conn.execute("begin; select runledger.enqueue_job('t'); prepare transaction 'x'")
        conn.execute("commit prepared 'x'")
        conn.execute("select runledger.idle_worker('w', now() + interval '1 minute')")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            conn.execute("begin; select runledger.enqueue_job('t'); prepare transaction 'x'")
        conn.execute("rollback")
        conn.execute("begin; select runledger.enqueue_job('t', run_at => now() + interval '1 minute'); prepare transaction 'x'")
        conn.execute("commit prepared 'x'")


def test_the_channel_carries_a_hash(q: Ledger):
    key = q.row("_wake_key", job_type="email.send")["_wake_key"]
    assert (
        key
        == q.row("_wake_key", job_type="email.send")["_wake_key"]
        != q.row("_wake_key", job_type="email.sent")["_wake_key"]
    )
    assert len(key) == 16


@pytest.mark.parametrize(
    "code, verb, arguments",
    [
        ("job.invalid_worker_id", "register_worker", [{"worker_id": x} for x in (None, "", " ", "w" * 201)]),
        ("worker.invalid_registration", "register_worker", [{"job_types": None}, {"job_types": ["t", None]}, {"job_types": ["t"] * 1001}, {"max_jobs": 0}, {"max_jobs": None}, {"max_jobs": -1}]),
        ("json.too_large", "register_worker", [{"metadata": "x" * 65_536}]),
        ("json.number_out_of_range", "register_worker", [{"metadata": Raw("1e4300")}]),
        ("worker.not_found", "idle_worker", [{"worker_id": "nobody"}, {"worker_id": None}]),
        ("worker.invalid_idle_time", "idle_worker", [{"until": x} for x in ("infinity", datetime(2100, 1, 1))]),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)  # fmt: skip
def test_workers_are_refused(db: Db, q: Ledger, code: str, verb: str, arguments: list[dict]):
    q.row("register_worker", worker_id="w1", job_types=["t"])
    before = db.all("select * from runledger.workers")
    good: dict = {"worker_id": "w1", "job_types": ["t"]} if verb == "register_worker" else {"worker_id": "w1"}
    for one in arguments:
        with q.refused(code):
            q.row(verb, **{**good, **one})
    assert db.all("select * from runledger.workers") == before


def test_wake_ups_stop_when_the_notification_queue_is_half_full(db: Db, q: Ledger, clock: Clock, listener: Listener):
    """The figure is made up here; tests/concurrency fills a real queue."""
    idle(q, clock)

    def usage(value: float) -> None:
        db.execute(
            "create or replace function public.pg_notification_queue_usage() returns double precision"
            f" language sql as 'select {value}::double precision'"
        )

    usage(0.51)
    db.execute("alter function runledger._wake(text[], timestamptz) set search_path = public, pg_catalog, pg_temp")
    q.enqueue()
    q.rows("enqueue_jobs", jobs=[{"job_type": "t"}])
    assert listener.heard() == []
    usage(0.49)
    q.enqueue()
    assert listener.heard() == ["t"]


def test_steps_that_are_let_go_call_for_their_workers(q: Ledger, clock: Clock, listener: Listener):
    for name in ("u", "v", "nobody"):
        q.define(name)
    idle(q, clock, "t", "u", "v")
    run = q.row("enqueue_workflow", workflow_type="w", steps=[
        {"key": "first", "job_type": "t"}, {"key": "gate", "external": True},
        {"key": "after", "job_type": "u", "after_success": ["first"]}, {"key": "lost", "job_type": "nobody", "after_success": ["first"]},
        {"key": "last", "job_type": "v", "after_terminal": ["gate"]},
    ])  # fmt: skip
    assert listener.heard() == ["t"]
    [lease] = q.claim()
    q.succeed({k: lease[k] for k in ("job_id", "lease_token")})
    assert listener.heard() == ["u"]
    at = {"workflow_run_id": run["workflow_run_id"]}
    q.rows("append_workflow_steps", **at, mutation_key="m", append_window="gate", steps=[{"key": "more", "job_type": "u"}])
    assert listener.heard() == ["u"]
    q.row("complete_external_step", **at, step_key="gate")
    assert listener.heard() == ["v"]


def test_workers_are_listed_by_name(db: Db, q: Ledger, clock: Clock):
    q.row("register_worker", worker_id="silent", job_types=["t", "u"], max_jobs=3)
    clock.advance(200)
    q.row("register_worker", worker_id="busy", job_types=["t"])
    q.row("register_worker", worker_id="idle", job_types=["u"])
    q.row("idle_worker", worker_id="idle", until=clock.now() + timedelta(minutes=1))
    q.leased(worker="busy")
    q.leased(worker="stranger")
    q.row("cancel_job", job_id=q.leased(worker="busy")["job_id"])  # it stops, and holds no lease any more
    q.row("cancel_job", job_id=q.leased(worker="gone")["job_id"])
    rows = q.rows("list_workers")
    assert [(r["worker_id"], r["state"], r["leases"], r["max_jobs"]) for r in rows] == [
        ("busy", "busy", 1, 1), ("idle", "idle", 0, 1), ("silent", "silent", 0, 3), ("stranger", "unknown", 1, None),
    ]  # fmt: skip
    assert rows[2]["job_types"] == ["t", "u"]
    assert [r["worker_id"] for r in q.rows("list_workers", after_worker="busy", max_rows=2)] == ["idle", "silent"]
    assert [r["worker_id"] for r in q.rows("list_workers", job_type="u")] == ["idle", "silent"]
    # Of people and of programs the same is told.
    shown = db.all("select worker, state, leases from runledger.worker_status")
    assert {(r["worker"], r["leases"]) for r in shown} == {(r["worker_id"], r["leases"]) for r in rows}
