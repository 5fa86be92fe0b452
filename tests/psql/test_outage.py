"""The scripted outage: nothing runs, for one planted cause after another.

Each time a worker passes by in vain, `why`, `why_workflow` or `health` names the cause, the printed fix is run by psql as
it stands, and then the same worker runs the job.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import LATER, Ledger
from tests.support.psql import psql

Job = Callable[[], UUID]
CAUSES: dict[str, Callable[[Outage], Job]] = {}


def cause(code: str) -> Callable[[Callable[[Outage], Job]], Callable[[Outage], Job]]:
    """Plants the cause with that code, and returns how to find the job that should run."""

    def add(plant: Callable[[Outage], Job]) -> Callable[[Outage], Job]:
        CAUSES[code] = plant
        return plant

    return add


class Outage:
    """A ledger with the type `t`, one worker that does no upkeep, and people who forget things."""

    def __init__(self, db: Db, clock: Clock) -> None:
        self.db, self.clock, self.q = db, clock, Ledger(db)
        self.q.define("t")
        self.run: Flow | None = None

    def pass_by(self) -> None:
        """The worker comes, takes what it gets and does it."""
        self.q.row("register_worker", worker_id="w1", job_types=["t"], max_jobs=10)
        for lease in self.q.claim(10):
            self.q.succeed({k: lease[k] for k in ("job_id", "lease_token")})

    def forget(self, statement: str) -> psycopg.Connection[Any]:
        """Somebody begins a transaction in psql and goes to lunch."""
        conn = self.db.connect(autocommit=False)
        conn.execute(statement.encode())
        self.clock.advance(600)
        return conn

    def named(self, code: str, job: Job) -> dict[str, Any]:
        """The row that names the cause, as an operator would look for it."""
        if not code.startswith("why."):
            rows = self.q.rows("health")
            assert [r for r in rows if r["code"] == code and r["level"] != "OK"]
        elif self.run:
            rows = self.q.rows("why_workflow", workflow_run_id=self.run.id)
        else:
            rows = self.q.rows("why", job_id=job())
            assert rows[0]["code"] == code, "the reason to mend first stands first"
        [row] = [r for r in rows if r["code"] == code]
        assert row["explanation"]
        return row

    def mend(self, fix: str) -> None:
        """Run it as it is printed, as the plain owner, by psql."""
        argv = [psql(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", self.db.dsn]
        done = subprocess.run(argv, input=fix + "\n", capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    def workflow(self, *steps: dict[str, Any]) -> Flow:
        self.run = Flows(self.q)(*steps)
        return self.run


@pytest.fixture
def outage(db: Db, clock: Clock) -> Outage:
    return Outage(db, clock)


@cause("why.type_paused")
def somebody_paused_the_type(o: Outage) -> Job:
    job_id = o.q.enqueue()
    o.q.row("pause_job_type", job_type="t", reason="deploy")
    return lambda: job_id


@cause("why.type_unknown")
def somebody_deleted_the_type(o: Outage) -> Job:
    job_id = o.q.enqueue()
    o.db.execute("delete from runledger.job_definitions")
    return lambda: job_id


@cause("why.type_limit")
def a_stuck_job_fills_the_limit(o: Outage) -> Job:
    o.q.define(max_concurrency=1)
    o.q.leased(worker="stuck", lease_seconds=86400)
    job_id = o.q.enqueue()
    return lambda: job_id


@cause("why.row_locked")
def a_session_has_locked_the_job(o: Outage) -> Job:
    job_id = o.q.enqueue()
    o.forget("select * from runledger.job_queue for update")
    return lambda: job_id


@cause("why.type_limit_locked")
def a_session_has_claimed_and_never_committed(o: Outage) -> Job:
    o.q.define(max_concurrency=5)
    o.q.enqueue()
    o.forget("select * from runledger.claim_jobs('me', '{t}')")
    job_id = o.q.enqueue()
    return lambda: job_id


@cause("why.lease_expired")
def its_worker_died_and_nobody_reaps(o: Outage) -> Job:
    lease = o.q.leased(worker="dead")
    o.clock.advance(LATER)
    return lambda: lease["job_id"]


@cause("why.dead_lettered")
def it_failed_for_good(o: Outage) -> Job:
    job_id = o.q.dead()
    return lambda: job_id


@cause("why.canceled")
def somebody_canceled_it(o: Outage) -> Job:
    job_id = o.q.enqueue()
    o.q.row("cancel_job", job_id=job_id, reason="thought it was another")
    return lambda: job_id


@cause("why.gate_waiting")
def nobody_completes_the_gate(o: Outage) -> Job:
    flow = o.workflow(gate("approve"), step("pay", "approve"))
    return lambda: flow.job_id("pay")


@cause("why.gate_overdue")
def nobody_times_out_the_gate(o: Outage) -> Job:
    flow = o.workflow(gate("approve", timeout_seconds=60, on_timeout="SUCCEEDED"), step("pay", "approve"))
    o.clock.advance(LATER)
    return lambda: flow.job_id("pay")


@cause("why.run_locked")
def a_session_has_locked_the_run(o: Outage) -> Job:
    """What the worker has done cannot be written down: it would wait for that session, and so would everybody."""
    flow = o.workflow(step("first"), step("second", "first"))
    flow.claim(lease_seconds=86400)
    o.forget("select * from runledger.workflow_runs for update")
    o.q.conn.execute("set lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        flow.succeed("first")
    o.q.conn.execute("reset lock_timeout")
    flow.leases.clear()
    return lambda: flow.job_id("second")


@cause("schedule.lag")
def nobody_fires_the_schedule(o: Outage) -> Job:
    o.q.row("upsert_schedule", name="nightly", job_type="t", cron="@hourly")
    o.clock.advance(timedelta(hours=2))
    return lambda: o.db.value("select min(id::text)::uuid from runledger.job_queue")


@cause("schedule.deferred")
def the_schedule_cannot_fire(o: Outage) -> Job:
    """Its type was switched off behind its back; the fix lets it fire again."""
    o.q.row("upsert_schedule", name="nightly", job_type="t", cron="@hourly")
    o.db.execute("update runledger.job_definitions set is_enabled = false, disabled_at = now(), disabled_by = 'x'")
    o.clock.advance(timedelta(hours=2))
    o.q.rows("fire_due_schedules")
    o.clock.advance(60)
    return lambda: o.db.value("select min(id::text)::uuid from runledger.job_queue")


@cause("queue.paused")
def a_type_was_paused_and_forgotten(o: Outage) -> Job:
    job_id = somebody_paused_the_type(o)
    o.clock.advance(LATER)
    return job_id


# Time, or the upkeep, has to pass after the fix: a retry is due after 30 s, a schedule fires at the next pass.
AFTERWARDS: dict[str, Callable[[Outage], object]] = {
    "why.lease_expired": lambda o: o.clock.advance(31),
    "schedule.deferred": lambda o: (o.clock.advance(31), o.q.rows("fire_due_schedules")),
}


@pytest.mark.matrix
@pytest.mark.parametrize("code", CAUSES)
def test_the_cause_is_named_and_its_fix_resolves_it(outage: Outage, code: str):
    job = CAUSES[code](outage)
    outage.pass_by()
    before = job()
    assert before is None or outage.db.job(before)["status"] != "SUCCEEDED", "the worker was to come in vain"
    outage.mend(outage.named(code, job)["fix"])
    AFTERWARDS.get(code, lambda _: None)(outage)
    if code == "why.run_locked":
        # The worker says again what it has done.
        flow = outage.run
        assert flow
        lease = outage.db.job(flow.job_id("first"))
        outage.q.succeed({"job_id": lease["id"], "lease_token": lease["lease_token"]})
    outage.pass_by()
    assert outage.db.job(job())["status"] == "SUCCEEDED"
    if code.startswith("why.") and not outage.run:
        assert code not in [r["code"] for r in outage.q.rows("why", job_id=job())]


def test_ten_causes_at_least_were_planted():
    assert len(CAUSES) >= 10


@pytest.mark.parametrize("code", ["why.no_worker", "why.workers_silent", "why.not_picked_up"])
def test_without_a_worker_the_fix_takes_the_job_by_hand(outage: Outage, code: str):
    """No statement starts a worker; what is printed hands one job of the type to whoever runs it, uncharged."""
    if code != "why.no_worker":
        outage.pass_by()
    job_id = outage.q.enqueue()
    outage.clock.advance(timedelta(minutes=5) if code == "why.workers_silent" else 90)
    outage.mend(outage.named(code, lambda: job_id)["fix"])
    job = outage.db.job(job_id)
    assert (job["status"], job["worker_id"]) == ("LEASED", "by-hand")
    lease = {"job_id": job_id, "lease_token": job["lease_token"]}
    assert outage.q.start(lease) == ["STARTED"]
    outage.q.succeed(lease)
