"""Observers and dead-letter hooks: told what was committed, and unable to harm the worker."""

from __future__ import annotations

import asyncio
import threading

import pytest

from runledger import Continue, Failure
from runledger._hooks import Hooks
from runledger.job import Success
from tests.runner.conftest import Gate, expire, until


class Recorder:
    """An observer that remembers; async methods and plain ones."""

    def __init__(self):
        self.seen = []

    async def on_job_running(self, job):
        self.seen.append(("running", job.job_id, job.attempt))

    async def on_job_succeeded(self, job, finished):
        self.seen.append(("succeeded", job.job_id, finished.disposition, finished.status))

    def on_job_continued(self, job, finished):
        self.seen.append(("continued", job.job_id, finished.status, finished.next_run_at is not None))

    def on_job_failed(self, job, finished):
        self.seen.append(
            ("failed", job.job_id, finished.disposition, finished.status, finished.next_run_at is not None)
        )

    def on_job_lease_lost(self, job, finished):
        self.seen.append(("lost", job.job_id, finished and finished.code))

    def on_job_lease_reaped(self, reaped):
        self.seen.append(("reaped", reaped.job_id, reaped.disposition))

    def on_job_completion_persist_failed(self, job, error):
        self.seen.append(("persist_failed", job.job_id, error))

    def of(self, job_id):
        return [(event[0], *event[2:]) for event in self.seen if event[1] == job_id]


def test_observers_hear_what_was_committed(runner):
    async def work(job):
        if job.payload == "fail" and job.attempt == 1:
            raise Failure.retryable("x", "once more")
        if job.payload == "continue" and job.run_number == 1:
            return Continue()
        if job.payload == "die":
            raise Failure.terminal("x", "never")
        if job.payload == "late" and job.attempt == 1:
            await asyncio.sleep(60)
        return None

    recorder = Recorder()
    runner.app.register("a", work, timeout=1, retry_base=0.001, retry_max=0.001)
    runner.start(observers=(recorder,))
    ids = {name: runner.enqueue("a", name) for name in ("succeed", "fail", "continue", "die", "late")}
    for job_id in ids.values():
        runner.wait(job_id)
    expected = {
        "succeed": [("running", 1), ("succeeded", "SUCCEEDED", "SUCCEEDED")],
        "fail": [
            ("running", 1), ("failed", "RETRY_SCHEDULED", "PENDING", True),
            ("running", 2), ("succeeded", "SUCCEEDED", "SUCCEEDED"),
        ],
        "continue": [
            ("running", 1), ("continued", "PENDING", True), ("running", 1), ("succeeded", "SUCCEEDED", "SUCCEEDED"),
        ],
        "die": [("running", 1), ("failed", "DEAD_LETTERED", "DEAD_LETTERED", False)],
        "late": [
            ("running", 1), ("failed", "RETRY_SCHEDULED", "PENDING", True),
            ("running", 2), ("succeeded", "SUCCEEDED", "SUCCEEDED"),
        ],
    }  # fmt: skip
    until(lambda: len(recorder.seen) == 16, f"all notices: {recorder.seen}")
    assert {name: sorted(recorder.of(job_id)) for name, job_id in ids.items()} == {
        name: sorted(events) for name, events in expected.items()
    }


@pytest.mark.parametrize(
    ("result", "pair"),
    [(None, (3, 10)), (Success(done=4), (4, 10)), (Success(total=20), (3, 20)), (Continue(done=10), (10, 10))],
    ids=["stored", "done", "total", "continuation"],
)
def test_observers_hear_the_progress_that_was_committed(runner, result, pair):
    """Merged by the database: what the handler reported before, and what it returned."""
    seen = []

    class Observer:
        async def on_job_succeeded(self, job, finished):
            seen.append((job.run_number, finished.progress_done, finished.progress_total))

        on_job_continued = on_job_succeeded

        async def on_job_failed(self, job, finished):
            seen.append((finished.disposition, finished.progress_done, finished.progress_total))

    async def work(job):
        if job.run_number == 2:
            raise Failure.terminal("x", "the end")
        await job.progress(3, 10)
        return result

    runner.app.register("a", work)
    runner.start(observers=(Observer(),))
    row = runner.finish("a")
    expected = [(1, *pair)] + ([("DEAD_LETTERED", None, None)] if isinstance(result, Continue) else [])
    until(lambda: len(seen) == len(expected), "the notices")
    # The notices of two leases are not in order.
    assert sorted(seen, key=str) == sorted(expected, key=str)
    assert (row["progress_done"], row["progress_total"]) == pair


def test_a_lost_lease_is_told_once(runner):
    gate = Gate()

    async def work(job):
        if job.attempt == 1:
            await gate.pass_()

    recorder = Recorder()
    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start(observers=(recorder,))
    gate.await_arrival()
    expire(runner.db, job_id)
    runner.client.reap_expired_leases(retry_delay=3600)
    gate.open()
    until(lambda: len(recorder.seen) == 2, "the loss")
    assert recorder.of(job_id) == [("running", 1), ("lost", "job.lease_owner_mismatch")]
    assert runner.db.job(job_id)["status"] == "PENDING"


@pytest.mark.parametrize("kind", ["raises", "hangs", "hangs in a thread"])
def test_a_broken_observer_harms_nobody(runner, monkeypatch, kind):
    monkeypatch.setattr("runledger._hooks.PATIENCE", 0.2)
    started = threading.Event()
    release = threading.Event()

    class Broken:
        async def on_job_running(self, job):
            started.set()
            if kind == "raises":
                raise RuntimeError("broken observer")
            await asyncio.sleep(3600)

        def on_job_succeeded(self, job, finished):
            started.set()
            if kind == "raises":
                raise RuntimeError("broken observer")
            release.wait(60)

    class Threaded:
        def on_job_running(self, job):
            started.set()
            release.wait(60)

    runner.app.register("a", lambda job: None)
    runner.start(observers=(Threaded() if kind == "hangs in a thread" else Broken(),), max_global_concurrency=2)
    for _ in range(20):
        assert runner.finish("a")["status"] == "SUCCEEDED"
    assert started.is_set()
    release.set()


def test_notices_are_bounded_and_the_newest_dropped(monkeypatch):
    monkeypatch.setattr("runledger._hooks.CROWD", 3)

    class Slow:
        told = 0

        async def on_job_running(self, job):
            Slow.told += 1
            await asyncio.sleep(3600)

    async def main():
        hooks = Hooks((Slow(),))
        for n in range(10):
            hooks.tell("on_job_running", n, token=n + 1, final=False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (Slow.told, hooks.dropped) == (3, 7)
        await hooks.drain(0.01)

    asyncio.run(main())


def test_a_slow_hook_is_given_up(monkeypatch, caplog):
    monkeypatch.setattr("runledger._hooks.PATIENCE", 0.05)
    cut = []

    async def slow():
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cut.append(True)
            raise

    asyncio.run(Hooks().call(slow))
    assert cut == [True]
    assert "took longer" in caplog.text


def test_notices_of_one_lease_come_in_order():
    order = []

    class Observer:
        async def on_job_running(self, job):
            await asyncio.sleep(0.05)
            order.append("running")

        async def on_job_succeeded(self, job, finished):
            order.append("succeeded")

    async def main():
        hooks = Hooks((Observer(),))
        hooks.tell("on_job_running", None, token=7, final=False)
        hooks.tell("on_job_succeeded", None, None, token=7)
        await hooks.drain(5)

    asyncio.run(main())
    assert order == ["running", "succeeded"]


# --- dead-letter hooks ---


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(
    ("failure", "attempts", "reason"),
    [
        (Failure.retryable("busy", "again"), 2, "AttemptsExhausted"),
        (Failure.terminal("bad", "never"), 1, "FailureKindNonRetryable"),
    ],
)
def test_a_dead_letter_hook_gets_the_job_as_it_was_committed(runner, kind, failure, attempts, reason):
    seen = []

    def note(job, info):
        seen.append((job, info))

    async def async_note(job, info):
        note(job, info)

    async def work(job):
        await job.progress(checkpoint={"attempt": job.attempt})
        raise failure

    hook = note if kind == "sync" else async_note
    runner.app.register("a", work, max_attempts=2, retry_base=0.001, retry_max=0.001, on_dead_letter=hook)
    supervisor = runner.start()
    row = runner.finish("a", {"p": 1})
    until(lambda: seen, "the hook")
    ((job, info),) = seen
    assert (job.job_id, job.payload, job.attempt, job.max_attempts) == (row["id"], {"p": 1}, attempts, 2)
    assert (job.status, job.checkpoint) == ("DEAD_LETTERED", {"attempt": attempts})
    assert (info.reason, info.kind, info.code, info.message) == (reason, failure.kind, failure.code, failure.message)
    assert info.worker_id == supervisor.config.worker_id


def test_the_database_decides_that_it_was_the_last_attempt(runner):
    """Not the worker's copy of max_attempts."""
    gate, seen, recorder = Gate(), [], Recorder()

    async def work(job):
        await gate.pass_()
        raise Failure.retryable("x", "y")

    runner.app.register("a", work, max_attempts=5, on_dead_letter=lambda job, info: seen.append(info))
    runner.define()
    job_id = runner.enqueue("a")
    runner.start(observers=(recorder,))
    gate.await_arrival()
    runner.db.execute("update runledger.job_queue set max_attempts = 1 where id = %s", [job_id])
    gate.open()
    assert runner.wait(job_id)["status"] == "DEAD_LETTERED"
    until(lambda: seen and len(recorder.seen) == 2, "the hook and the observer")
    assert seen[0].reason == "AttemptsExhausted"
    assert recorder.of(job_id)[1] == ("failed", "DEAD_LETTERED", "DEAD_LETTERED", False)


def test_a_hook_that_hangs_keeps_neither_slot_nor_job(monkeypatch, runner, caplog):
    monkeypatch.setattr("runledger._hooks.PATIENCE", 0.2)

    async def hook(job, info):
        await asyncio.sleep(3600)

    async def work(job):
        raise Failure.terminal("x", "y")

    runner.app.register("a", work, on_dead_letter=hook)
    runner.app.register("b", lambda job: "fine")
    runner.start(max_global_concurrency=1)
    for _ in range(10):  # more than there are letters at once
        assert runner.finish("a")["status"] == "DEAD_LETTERED"
    assert runner.finish("b")["output"] == "fine"
    until(lambda: "took longer" in caplog.text, "the log")


def test_a_hook_that_raises_harms_nobody(runner, caplog):
    def hook(job, info):
        raise RuntimeError("broken hook")

    async def work(job):
        raise Failure.terminal("x", "y")

    runner.app.register("a", work, on_dead_letter=hook)
    runner.app.register("b", lambda job: "fine")
    runner.start(max_global_concurrency=1)
    assert runner.finish("a")["status"] == "DEAD_LETTERED"
    assert runner.finish("b")["output"] == "fine"
    until(lambda: "broken hook" in caplog.text, "the log")


# --- the reaper ---


def abandoned(runner, job_type, **options):
    """A job whose worker is gone, on its last attempt if max_attempts=1."""
    job_id = runner.enqueue(job_type, {"p": 1}, **options)
    (claim,) = runner.client.claim_jobs("gone", [job_type])
    assert claim.job_id == job_id
    expire(runner.db, job_id)
    return job_id


def test_the_reaper_tells_observers_and_hooks(runner):
    seen, recorder = [], Recorder()

    def hook(job, info):
        seen.append((job.job_id, job.payload, info.reason, info.kind, info.code, info.worker_id))

    runner.app.register("a", lambda job: None, on_dead_letter=hook)
    runner.client.define_job("foreign")
    runner.define()
    lost = abandoned(runner, "a", max_attempts=1)
    again = abandoned(runner, "a", max_attempts=2)
    foreign = abandoned(runner, "foreign", max_attempts=1)
    runner.start(observers=(recorder,), reaper_interval_seconds=0.05, reaper_retry_delay_ms=10)
    assert runner.wait(lost)["status"] == "DEAD_LETTERED"
    assert runner.wait(again)["attempt"] == 2
    assert runner.wait(foreign)["status"] == "DEAD_LETTERED"
    until(lambda: seen and sum(event[0] == "reaped" for event in recorder.seen) == 3, "reports")
    assert seen == [(lost, {"p": 1}, "LeaseExpired", "LEASE_EXPIRED", "job.lease_expired", "reaper")]
    assert recorder.of(lost) == [("reaped", "DEAD_LETTERED")]
    assert recorder.of(again)[0] == ("reaped", "RETRY_SCHEDULED")
    assert runner.db.attempts(again)[0]["retry_delay_ms"] == 10


def test_a_hanging_hook_does_not_stop_the_reaper(runner):
    release = threading.Event()
    runner.app.register("a", lambda job: None, on_dead_letter=lambda job, info: release.wait(60))
    runner.define()
    ids = [runner.enqueue("a", max_attempts=1) for _ in range(4)]
    assert len(runner.client.claim_jobs("gone", ["a"], max_jobs=4)) == 4
    runner.start(reaper_interval_seconds=0.05)
    for job_id in ids:
        expire(runner.db, job_id)
        assert runner.wait(job_id)["status"] == "DEAD_LETTERED"
    release.set()
