"""Leases: kept by heartbeats whatever the handler does, given up when they are lost or the job is canceled."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from runledger._link import Link
from runledger.config import Config
from runledger.heartbeat import Heartbeat
from tests.runner.conftest import Gate, backends, expire, until


def test_a_handler_may_take_longer_than_its_lease(runner):
    async def work(job):
        await asyncio.sleep(2.5)

    runner.app.register("a", work)
    runner.start(lease_ttl_seconds=1, reaper_interval_seconds=0.1)
    row = runner.finish("a")
    assert (row["status"], row["attempt"]) == ("SUCCEEDED", 1)
    assert runner.db.events(row["id"]) == ["ENQUEUED", "LEASED", "SUCCEEDED"]


def test_a_handler_that_blocks_the_loop_keeps_its_lease(runner, caplog):
    async def work(job):
        time.sleep(3)  # noqa: ASYNC251 - three leases long

    runner.app.register("a", work)
    runner.define()
    other = threading.Event()
    # Another worker reaps; this one cannot while its loop is blocked.
    runner.start(lease_ttl_seconds=1)
    job_id = runner.enqueue("a")
    runner.wait(job_id, "LEASED")
    while runner.db.job(job_id)["status"] == "LEASED":
        assert runner.client.reap_expired_leases() == []
        other.wait(0.05)
    row = runner.wait(job_id)
    assert (row["status"], row["attempt"]) == ("SUCCEEDED", 1)
    assert "does an async handler block it" in caplog.text


def test_one_call_beats_for_all_jobs(runner):
    gate = Gate()

    async def work(job):
        await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    runner.client.enqueue_jobs([{"job_type": "a"}] * 20)
    runner.start(lease_ttl_seconds=1)
    gate.await_arrival()
    until(
        lambda: runner.db.value(
            "select count(*) = 20 and count(distinct last_heartbeat_at) = 1 and min(last_heartbeat_at) > min(started_at)"
            " from runledger.job_queue where status = 'LEASED'"
        ),
        "one beat for all",
    )
    assert not runner.db.value("select count(*) from runledger.job_events where event_type = 'HEARTBEAT'")
    gate.open()


def test_a_canceled_async_handler_is_interrupted_and_the_job_quiet_soon(runner):
    gate = Gate()
    interrupted = threading.Event()

    async def work(job):
        try:
            await gate.pass_()
        except asyncio.CancelledError:
            assert job.canceled.is_set()
            interrupted.set()
            raise

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start(lease_ttl_seconds=2)
    gate.await_arrival()
    assert runner.client.cancel_job(job_id, "no longer needed").lease_quiesces_at is not None
    assert interrupted.wait(30)
    until(lambda: runner.db.job(job_id)["lease_expires_at"] is None, "the end of the quiescence")
    row = runner.db.job(job_id)
    assert (row["status"], row["status_reason"]) == ("CANCELED", "no longer needed")
    assert runner.db.events(job_id) == ["ENQUEUED", "LEASED", "CANCELED"]
    # Quiet: it may run again at once.
    assert runner.client.requeue_job(job_id).run_number == 2
    gate.open()
    assert runner.wait(job_id)["status"] == "SUCCEEDED"


def test_a_canceled_handler_in_a_thread_sees_it(runner):
    started = threading.Event()

    def work(job):
        started.set()
        assert job.canceled.wait(30)
        return "stopped by myself"

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start(lease_ttl_seconds=1)
    assert started.wait(30)
    runner.client.cancel_job(job_id)
    until(lambda: runner.db.job(job_id)["lease_expires_at"] is None, "the end of the quiescence")
    assert runner.db.job(job_id)["status"] == "CANCELED"
    assert runner.db.job(job_id)["output"] is None


def test_a_lost_lease_ends_the_handler_and_nothing_is_sent(runner):
    gate = Gate()
    interrupted = threading.Event()

    async def work(job):
        if job.attempt == 2:
            return "second"
        try:
            await gate.pass_()
        except asyncio.CancelledError:
            interrupted.set()
            raise

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start(lease_ttl_seconds=1)
    gate.await_arrival()
    # In one statement: no heartbeat may come between.
    runner.db.execute(
        "with gone as (update runledger.job_queue set lease_expires_at = now() - interval '1 s' where id = %s) select",
        [job_id],
    )
    runner.client.reap_expired_leases(retry_delay=0)
    assert interrupted.wait(30)
    row = runner.wait(job_id)
    assert (row["status"], row["attempt"], row["output"]) == ("SUCCEEDED", 2, "second")
    assert [a["outcome"] for a in runner.db.attempts(job_id)] == ["LEASE_EXPIRED", None]


def test_a_late_result_is_refused(runner):
    """The lease was lost and nobody has told the handler yet."""
    gate = Gate()

    async def work(job):
        if job.attempt == 2:
            return "second"
        await gate.pass_()
        return "first"

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start(lease_ttl_seconds=30)
    gate.await_arrival()
    expire(runner.db, job_id)
    runner.client.reap_expired_leases(retry_delay=0)
    gate.open()
    row = runner.wait(job_id)
    assert (row["status"], row["attempt"], row["output"]) == ("SUCCEEDED", 2, "second")


def test_a_worker_that_hears_nothing_gives_up_when_the_lease_must_have_ended(runner):
    """No heartbeat comes through: by its own clock it knows that others may have the job now."""
    gate = Gate()
    interrupted = threading.Event()

    async def work(job):
        if interrupted.is_set():
            return "second"
        try:
            await gate.pass_()
        except asyncio.CancelledError:
            interrupted.set()
            raise

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    source = runner.db.value("select pg_get_functiondef('runledger.heartbeat_jobs'::regproc)")
    runner.db.execute(
        "create or replace function runledger.heartbeat_jobs(job_ids uuid[], lease_tokens bigint[],"
        " lease_seconds integer default 60) returns setof runledger.extended_lease language plpgsql as"
        " $$ begin raise sqlstate '57014'; end $$"
    )
    runner.start(lease_ttl_seconds=1)
    gate.await_arrival()
    assert interrupted.wait(30)
    runner.db.execute(source)
    # Given back a moment before its lease ended, or refused and then reaped.
    until(
        lambda: runner.client.reap_expired_leases(retry_delay=0) or runner.db.job(job_id)["status"] == "SUCCEEDED",
        "the end of the lease",
    )
    assert runner.wait(job_id)["output"] == "second"
    assert runner.db.events(job_id).count("SUCCEEDED") == 1


def test_a_beat_that_hangs_leaves_time_for_another(runner, sessions):
    """It is given up after a third of the lease; the next one comes while the lease still lives."""
    gate = Gate()

    async def work(job):
        await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    supervisor = runner.start(lease_ttl_seconds=9, max_global_concurrency=1)
    gate.await_arrival()
    (other,) = sessions("other")
    other.begin().execute("lock table runledger.job_queue in access exclusive mode")
    blocked = "select pid from unnest(%s::int[]) pid where %s = any(pg_blocking_pids(pid))"

    def waiting():
        return set(runner.db.column(blocked, [backends(runner.db, supervisor.config.worker_id), other.pid]))

    first = until(waiting, "a beat that hangs")
    # The server does not notice that nobody waits for the first any more.
    until(lambda: waiting() - first, "another")
    alive = "select lease_expires_at > clock_timestamp() as alive from runledger.job_queue"
    assert other.execute(alive) == [{"alive": True}]
    other.commit()
    until(lambda: runner.db.value("select last_heartbeat_at > started_at from runledger.job_queue"), "a beat")
    gate.open()
    row = runner.wait(job_id)
    assert (row["status"], row["attempt"]) == ("SUCCEEDED", 1)


@pytest.mark.parametrize(("ttl", "third"), [(1, 1 / 3), (2, 2 / 3), (10, 10 / 3), (60, 15)])
def test_no_beat_takes_more_than_a_third_of_the_lease(monkeypatch, ttl, third):
    """And none more than any other call: two thirds are left whatever the length."""
    links = []

    class Spy(Link):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            links.append(self._deadline)

    class Holder:
        loop = None

        def held(self):
            return []

        def ending(self, lease, verdict):
            raise AssertionError

    monkeypatch.setattr("runledger.heartbeat.Link", Spy)
    heartbeat = Heartbeat(Holder(), "", config=Config(lease_ttl_seconds=ttl), died=lambda: None)
    heartbeat.start()
    until(lambda: links, "its link")
    heartbeat.stop()
    assert links == [pytest.approx(third)]


def test_heartbeats_have_a_connection_of_their_own(runner):
    gate = Gate()

    async def work(job):
        await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    supervisor = runner.start(lease_ttl_seconds=1)
    gate.await_arrival()
    until(lambda: runner.db.value("select last_heartbeat_at > started_at from runledger.job_queue"), "a beat")
    beating = runner.db.value(
        "select pid from pg_stat_activity where application_name = %s and query like '%%heartbeat_jobs%%'",
        [f"runledger:{supervisor.config.worker_id}"[:63]],
    )
    before = runner.db.job(job_id)["last_heartbeat_at"]
    runner.db.execute("select pg_terminate_backend(%s)", [beating])
    until(lambda: runner.db.job(job_id)["last_heartbeat_at"] > before, "a beat on a new connection")
    assert beating not in backends(runner.db, supervisor.config.worker_id)
    gate.open()
    assert runner.wait(job_id)["attempt"] == 1
