"""What handlers return and raise, and what stands in the ledger afterwards."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from runledger import Continue, Failure, Job, SyncJob
from runledger.job import Success
from tests.runner.conftest import Gate, expire, until


def last_error(row):
    return row["status_reason"], row["last_error_code"], row["last_error_message"]


@pytest.fixture(params=["async", "sync"])
def handler(request):
    """Register a plain function as an async handler or as one that runs in a thread."""

    def register(runner, name, function, **options):
        if request.param == "sync":
            return runner.app.register(name, function, **options)

        async def wrapped(job):
            return function(job)

        return runner.app.register(name, wrapped, **options)

    return register


# --- success ---


@pytest.mark.parametrize("output", [{"a": [1, None, "é\u2028"]}, [], "text", 0, False, 1.5, None])
def test_what_a_handler_returns_is_the_output(runner, handler, output):
    handler(runner, "a", lambda job: output)
    runner.start()
    row = runner.finish("a")
    assert (row["status"], row["output"], row["stage"]) == ("SUCCEEDED", output, "completed")
    assert (row["worker_id"], row["lease_token"], row["lease_expires_at"], row["last_error_code"]) == (None,) * 4
    assert runner.db.events(row["id"]) == ["ENQUEUED", "LEASED", "SUCCEEDED"]
    (attempt,) = runner.db.attempts(row["id"])
    assert attempt["outcome"] is None
    assert attempt["finished_at"] is not None


def test_success_may_carry_progress_and_a_checkpoint(runner, handler):
    handler(runner, "a", lambda job: Success({"n": 1}, checkpoint={"at": 9}, done=3, total=4))
    runner.start()
    row = runner.finish("a")
    assert (row["output"], row["checkpoint"]) == ({"n": 1}, {"at": 9})
    assert (row["progress_done"], row["progress_total"]) == (3, 4)


def test_the_job_shows_the_columns_of_its_claim(runner):
    seen = []

    async def look(job):
        seen.append(
            (job.job_id, job.job_type, job.payload, job.checkpoint, job.run_number, job.attempt, job.max_attempts,
             job.priority, job.timeout_seconds, job.organization_id, job.workflow_run_id, job.step_key, job.inputs,
             job.inputs_omitted, job.lease_token > 0, job.lease_expires_at > job.created_at, job.canceled.is_set(),
             59 < job.remaining() <= 60, repr(job))
        )  # fmt: skip

    runner.app.register("a", look, timeout=60)
    runner.define()
    job_id = runner.enqueue("a", {"secret": 1}, priority=5, max_attempts=2)
    runner.start()
    runner.wait(job_id)
    assert seen == [
        (job_id, "a", {"secret": 1}, None, 1, 1, 2, 5, 60, None, None, None, None, False, True, True, False, True,
         f"Job({job_id}, 'a', attempt=1)")
    ]  # fmt: skip


def test_progress_and_log_are_written_while_the_handler_runs(runner):
    gate = Gate()

    async def work(job: Job):
        report = await job.progress(1, 4, checkpoint={"page": 1}, stage="reading")
        assert report.progress_pct == 25
        await job.progress(2)
        await job.log("info", "half way", page=2)
        await gate.pass_()

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start()
    gate.await_arrival()
    row = runner.db.job(job_id)
    assert (row["status"], row["stage"], row["checkpoint"]) == ("LEASED", "reading", {"page": 1})
    assert (row["progress_done"], row["progress_total"]) == (2, 4)
    log = runner.db.one("select level, message, payload, attempt from runledger.job_logs where job_id = %s", [job_id])
    assert log == {"level": "info", "message": "half way", "payload": {"page": 2}, "attempt": 1}
    gate.open()
    runner.wait(job_id, "SUCCEEDED")
    assert runner.db.events(job_id) == ["ENQUEUED", "LEASED", "STAGE_CHANGED", "PROGRESS", "PROGRESS", "SUCCEEDED"]


def test_a_handler_in_a_thread_has_the_same(runner):
    names = []

    def work(job: SyncJob):
        names.append(threading.current_thread().name)
        assert job.progress(1, 4, checkpoint={"page": 1}).progress_done == 1
        assert job.log("info", "half way", page=2) > 0
        return job.payload

    runner.app.register("a", work)
    runner.start()
    row = runner.finish("a", {"x": 1})
    assert (row["status"], row["output"], row["checkpoint"]) == ("SUCCEEDED", {"x": 1}, {"page": 1})
    assert names[0].startswith("runledger-job")


# --- failure ---


def test_a_retryable_failure_is_retried_and_then_succeeds(runner, handler):
    def work(job):
        if job.attempt == 1:
            raise Failure.retryable("smtp.busy", "try later")
        return job.attempt

    handler(runner, "a", work, retry_delays={"smtp.busy": 0.01})
    runner.start()
    row = runner.finish("a")
    assert (row["status"], row["attempt"], row["output"]) == ("SUCCEEDED", 2, 2)
    first, second = runner.db.attempts(row["id"])
    assert (first["outcome"], first["error_code"], first["error_message"]) == ("RETRYABLE", "smtp.busy", "try later")
    assert (first["retry_delay_ms"], first["retry_timing_source"]) == (10, "ERROR_CODE")
    assert second["outcome"] is None
    assert runner.db.events(row["id"]) == [
        "ENQUEUED", "LEASED", "FAILED", "RETRY_SCHEDULED", "LEASED", "SUCCEEDED",
    ]  # fmt: skip


def test_a_retry_sees_the_checkpoint_of_the_attempt_before(runner):
    async def work(job):
        if job.attempt == 1:
            await job.progress(checkpoint={"page": 7})
            raise Failure.retryable("x", "once more")
        return job.checkpoint

    runner.app.register("a", work, retry_base=0.001, retry_max=0.001)
    runner.start()
    assert runner.finish("a")["output"] == {"page": 7}


@pytest.mark.parametrize("make", [Failure.terminal, Failure.panicked])
def test_a_final_failure_dead_letters_at_once(runner, handler, make):
    failure = make("bad.input", "no such file")

    def work(job):
        raise failure

    handler(runner, "a", work, max_attempts=3)
    runner.start()
    row = runner.finish("a", {"p": 1})
    assert (row["status"], row["attempt"]) == ("DEAD_LETTERED", 1)
    assert last_error(row) == (failure.kind, "bad.input", "no such file")
    letter = runner.db.one("select * from runledger.job_dead_letters where job_id = %s", [row["id"]])
    assert (letter["payload_snapshot"], letter["error_code"], letter["attempt"]) == ({"p": 1}, "bad.input", 1)


def test_the_last_attempt_dead_letters(runner, handler):
    def work(job):
        raise Failure.retryable("busy", f"attempt {job.attempt}")

    handler(runner, "a", work, max_attempts=2, retry_delays={"busy": 0.001})
    runner.start()
    row = runner.finish("a")
    assert (row["status"], row["attempt"], row["last_error_message"]) == ("DEAD_LETTERED", 2, "attempt 2")
    assert [a["outcome"] for a in runner.db.attempts(row["id"])] == ["RETRYABLE", "RETRYABLE"]


@pytest.mark.parametrize(
    "code", ["job.lease_owner_mismatch", "job.timeout_exceeded", "job.canceled", "job.lease_expired"]
)
def test_a_handler_may_use_any_code(runner, handler, code):
    def work(job):
        raise Failure.terminal(code, "mine")

    handler(runner, "a", work)
    runner.start()
    assert last_error(runner.finish("a")) == ("TERMINAL", code, "mine")


@pytest.mark.parametrize("how", ["after", "not_before"])
def test_a_handler_may_put_a_retry_off(runner, handler, how):
    def work(job):
        later = {"after": 3600} if how == "after" else {"not_before": datetime.now(UTC) + timedelta(hours=1)}
        raise Failure.timeout("slow", "later", **later)

    handler(runner, "a", work, retry_delays={"slow": 1})
    runner.start()
    job_id = runner.enqueue("a")
    runner.wait_event(job_id, "RETRY_SCHEDULED")
    (attempt,) = runner.db.attempts(job_id)
    wait = runner.db.job(job_id)["next_run_at"] - attempt["finished_at"]
    assert timedelta(minutes=59) < wait < timedelta(minutes=61)
    assert (attempt["outcome"], attempt["retry_timing_source"]) == ("TIMEOUT", "HANDLER_NOT_BEFORE")


def test_a_handler_cannot_hasten_a_retry(runner):
    async def work(job):
        raise Failure.retryable("slow", "now", after=1)

    runner.app.register("a", work, retry_delays={"slow": 3600})
    runner.start()
    job_id = runner.enqueue("a")
    runner.wait_event(job_id, "RETRY_SCHEDULED")
    assert runner.db.attempts(job_id)[0]["retry_timing_source"] == "ERROR_CODE"


def test_an_exception_is_retried_and_its_traceback_kept(runner, handler):
    def work(job):
        if job.attempt == 1:
            raise KeyError("a\0b\ud800")
        return "fine"

    handler(runner, "a", work, retry_base=0.001, retry_max=0.001)
    runner.start()
    row = runner.finish("a", {"p": 1})
    assert (row["status"], row["attempt"]) == ("SUCCEEDED", 2)
    first = runner.db.attempts(row["id"])[0]
    assert (first["outcome"], first["error_code"]) == ("RETRYABLE", "job.unhandled_exception")
    assert first["error_message"].startswith("KeyError: ")
    log = runner.db.one("select level, message, payload from runledger.job_logs where job_id = %s", [row["id"]])
    assert log["level"] == "error"
    assert log["message"].startswith("Traceback")
    assert "in work" in log["message"]
    assert log["payload"] == {"exception": "KeyError", "run_number": 1, "attempt": 1}


def test_a_handler_may_be_registered_to_panic(runner, handler):
    def work(job):
        raise ValueError("broken")

    handler(runner, "a", work, on_exception="panic", max_attempts=5)
    runner.start(max_global_concurrency=1)
    row = runner.finish("a")
    assert (row["status"], row["attempt"]) == ("DEAD_LETTERED", 1)
    assert last_error(row) == ("PANICKED", "job.handler_panic", "Job handler panicked: ValueError: broken")
    events = runner.db.all("select event_type::text, payload ->> 'kind' as kind from runledger.job_events order by id")
    assert events[-2:] == [
        {"event_type": "FAILED", "kind": "PANICKED"}, {"event_type": "DEAD_LETTERED", "kind": "PANICKED"},
    ]  # fmt: skip


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


class Outlandish(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [SystemExit(3), Outlandish("x"), asyncio.CancelledError(), Unprintable(), RecursionError("deep"),
     ValueError("x" * 1_000_000), StopAsyncIteration()],
    ids=lambda e: type(e).__name__,
)  # fmt: skip
def test_whatever_is_raised_the_worker_goes_on(runner, handler, error):
    def work(job):
        raise error

    handler(runner, "bad", work, max_attempts=1)
    handler(runner, "good", lambda job: "fine")
    runner.start(max_global_concurrency=1)
    row = runner.finish("bad")
    assert (row["status"], row["last_error_code"]) == ("DEAD_LETTERED", "job.unhandled_exception")
    assert row["last_error_message"].startswith(type(error).__name__)
    assert len(row["last_error_message"]) < 10_000
    assert runner.finish("good")["output"] == "fine"


# --- what cannot be stored ---


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (float("nan"), "job.invalid_output"),
        (object(), "job.invalid_output"),
        ("nul \0", "job.invalid_output"),
        ("half \ud800", "job.invalid_output"),
        (10**5000, "job.invalid_output"),
        (10**400, "json.number_out_of_range"),
        (deep(100), "json.too_deep"),
        (deep(sys.getrecursionlimit() * 50), "job.invalid_output"),
        ("x" * 300_000, "json.too_large"),
        ("x" * 40_000_000, "json.too_large"),
        (Success(1, done=5, total=4), "job.invalid_completion_progress"),
        (Success(1, done=-1), "job.invalid_completion_progress"),
        (Success(1, done="many"), "job.invalid_completion_progress"),
        (Continue(after=-1), "job.invalid_continuation_delay"),
        (Continue(after=1e12), "job.invalid_continuation_delay"),
        (Continue(after="soon"), "job.invalid_continuation_delay"),
        (Continue(checkpoint="x" * 300_000), "json.too_large"),
    ],
    ids=[
        "nan", "object", "nul", "surrogate", "digits", "number", "deep", "bottomless", "large", "enormous", "progress",
        "negative", "word", "past", "far", "blur", "checkpoint",
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_stored_ends_the_job_alone_and_for_good(runner, result, code):
    calls = []

    async def bad(job):
        calls.append(job.attempt)
        return result

    async def good(job):
        return "fine"

    runner.app.register("bad", bad, max_attempts=3)
    runner.app.register("good", good)
    runner.define()
    jobs = [runner.enqueue("good"), runner.enqueue("bad"), runner.enqueue("good")]
    runner.start()
    first, row, last = (runner.wait(job_id) for job_id in jobs)
    assert (row["status"], row["status_reason"], row["last_error_code"]) == ("DEAD_LETTERED", "TERMINAL", code)
    assert (first["output"], last["output"]) == ("fine", "fine")
    assert calls == [1]
    assert "SUCCEEDED" not in runner.db.events(row["id"])


def test_stored_progress_counts_for_the_final_one_and_is_not_told(runner):
    async def work(job):
        await job.progress(1, 4)
        return Success(done=77)

    runner.app.register("a", work)
    runner.start()
    row = runner.finish("a")
    assert (row["status"], row["last_error_code"]) == ("DEAD_LETTERED", "job.invalid_completion_progress")
    assert "4" not in row["last_error_message"]
    assert (row["progress_done"], row["progress_total"]) == (1, 4)


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (Failure.retryable("  ", "blank"), "job.invalid_error_code"),
        (Failure.retryable("x" * 500, "long"), "job.invalid_error_code"),
        (Failure.retryable("x", "m", after=10**10), "job.invalid_retry_timing"),
        (Failure.retryable("x", "m", not_before=datetime(2020, 1, 1)), "job.invalid_retry_timing"),  # no time zone
        (Failure("LEASE_EXPIRED", "x", "m"), "job.invalid_failure_kind"),
        (Failure.terminal(404, None), "404"),
    ],
)
def test_a_failure_that_cannot_be_stored_ends_the_job_for_good(runner, failure, code):
    async def work(job):
        raise failure

    runner.app.register("a", work, max_attempts=3)
    runner.start()
    row = runner.finish("a")
    assert (row["status"], row["status_reason"], row["last_error_code"]) == ("DEAD_LETTERED", "TERMINAL", code)


# --- continuation ---


def test_a_continuation_starts_the_next_run(runner, handler):
    def work(job):
        if job.run_number < 3:
            return Continue(checkpoint={"run": job.run_number}, done=job.run_number, total=3)
        return job.checkpoint

    handler(runner, "a", work, max_attempts=1)
    runner.start()
    row = runner.finish("a")
    assert (row["status"], row["run_number"], row["attempt"], row["output"]) == ("SUCCEEDED", 3, 1, {"run": 2})
    assert runner.db.events(row["id"]).count("REQUEUED") == 2


def test_a_continuation_may_wait(runner):
    async def work(job):
        return Continue(after=timedelta(hours=1))

    runner.app.register("a", work)
    runner.start()
    job_id = runner.enqueue("a")
    runner.wait_event(job_id, "REQUEUED")
    row = runner.db.job(job_id)
    assert (row["status"], row["run_number"], row["attempt"]) == ("PENDING", 2, 0)
    assert timedelta(minutes=59) < row["next_run_at"] - row["updated_at"] < timedelta(minutes=61)


# --- deadlines ---


def test_a_handler_that_takes_too_long_is_canceled_and_retried(runner):
    ended = threading.Event()

    async def work(job):
        if job.attempt == 2:
            return "fine"
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    runner.app.register("a", work, timeout=1, retry_base=0.001, retry_max=0.001)
    runner.start()
    row = runner.finish("a")
    assert ended.is_set()
    assert (row["status"], row["attempt"]) == ("SUCCEEDED", 2)
    first = runner.db.attempts(row["id"])[0]
    assert (first["outcome"], first["error_code"]) == ("TIMEOUT", "job.timeout_exceeded")


@pytest.mark.parametrize("result", ["success", Continue()], ids=["success", "continuation"])
def test_a_result_after_the_deadline_is_a_timeout(runner, result):
    async def work(job):
        while job.remaining() >= 0:  # does not yield: nobody can interrupt it
            pass
        return result

    runner.app.register("a", work, timeout=1, max_attempts=1)
    runner.start()
    row = runner.finish("a")
    assert last_error(row)[:2] == ("TIMEOUT", "job.timeout_exceeded")


def test_a_thread_that_overruns_keeps_its_slot_but_not_its_job(runner):
    gate = Gate()
    told = []

    def slow(job):
        gate.wait()
        told.append(job.canceled.is_set())
        return "too late"

    runner.app.register("slow", slow, timeout=1, max_attempts=1)
    runner.app.register("next", lambda job: "fine")
    runner.define()
    slow_id = runner.enqueue("slow", priority=900)
    next_id = runner.enqueue("next")
    runner.start(max_global_concurrency=1)
    row = runner.wait(slow_id)
    assert last_error(row)[:2] == ("TIMEOUT", "job.timeout_exceeded")
    assert runner.db.job(next_id)["status"] == "PENDING"
    assert not told
    gate.open()
    assert runner.wait(next_id)["output"] == "fine"
    assert told == [True]
    assert runner.db.events(slow_id).count("FAILED") == 1


# --- what the worker cannot run ---


def test_a_payload_that_python_cannot_read_ends_alone(runner):
    calls = []

    async def work(job):
        calls.append(job.job_id)

    runner.app.register("a", work, max_attempts=3)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(4)]
    for job_id, payload in zip(ids, ["1e4300", "[" * 3000 + "]" * 3000], strict=False):
        runner.db.execute("update runledger.job_queue set payload = %s::jsonb where id = %s", [payload, job_id])
    runner.start()
    until(lambda: runner.db.value("select count(*) from runledger.job_queue where finished_at is not null") == 4)
    runner.db.execute("update runledger.job_queue set payload = '{}'")
    runner.db.execute("update runledger.job_dead_letters set payload_snapshot = '{}'")
    rows = [runner.db.job(job_id) for job_id in ids]
    for row in rows[:2]:
        assert (row["status"], row["status_reason"], row["attempt"]) == ("DEAD_LETTERED", "TERMINAL", 1)
        assert (row["last_error_code"], row["last_error_message"]) == (
            "job.payload_undecodable", "Python cannot read its payload",
        )  # fmt: skip
    assert [row["status"] for row in rows[2:]] == ["SUCCEEDED"] * 2
    assert calls == ids[2:]


def test_only_registered_types_are_claimed(runner):
    runner.client.define_job("other")
    other = runner.enqueue("other", priority=900)
    runner.app.register("mine", lambda job: None)
    runner.start()
    assert runner.finish("mine")["status"] == "SUCCEEDED"
    assert runner.db.events(other) == ["ENQUEUED"]


def test_a_lease_without_a_handler_is_ended(runner):
    """It may be found again after a lost reply, by a worker that was restarted under its name with fewer types."""
    from runledger.worker import Worker

    runner.app.register("mine", lambda job: None)
    runner.client.define_job("gone")
    runner.define()
    job_id = runner.enqueue("gone")

    async def main():
        from runledger.config import Config

        worker = Worker(runner.app, runner.db.dsn, config=Config(worker_id="w", lease_ttl_seconds=30))
        runner.client.claim_jobs("w", ["gone"])
        await worker._recover(worker._lanes[0])
        worker.stop()
        await worker.lane(0)
        await worker.close()

    asyncio.run(main())
    row = runner.db.job(job_id)
    assert (row["status"], row["last_error_code"]) == ("DEAD_LETTERED", "job.handler_not_registered")


def test_a_lease_that_was_lost_is_told_by_progress(runner):
    """By the type of the exception, whatever code it has."""
    from runledger import LeaseLost

    gate = Gate()
    seen = []

    async def work(job):
        if job.attempt == 2:
            return "second"
        await gate.pass_()
        try:
            await job.progress(1)
        except LeaseLost as error:
            seen.append(error.code)
            raise

    runner.app.register("a", work)
    runner.define()
    job_id = runner.enqueue("a")
    runner.start()
    gate.await_arrival()
    expire(runner.db, job_id)
    (reaped,) = runner.client.reap_expired_leases(retry_delay=0)
    assert reaped.disposition == "RETRY_SCHEDULED"
    gate.open()
    until(lambda: seen, "progress to be refused")
    assert seen == ["job.lease_owner_mismatch"]
    row = runner.wait(job_id)
    assert (row["status"], row["attempt"], row["output"]) == ("SUCCEEDED", 2, "second")
    assert [a["outcome"] for a in runner.db.attempts(job_id)] == ["LEASE_EXPIRED", None]


def test_a_traceback_in_any_alphabet_is_kept(runner):
    async def work(job):
        raise ValueError("ж" * 5000 + "\N{GRINNING FACE}" * 5000)

    runner.app.register("a", work, max_attempts=1)
    runner.start()
    row = runner.finish("a")
    log = runner.db.one("select octet_length(message) as size from runledger.job_logs where job_id = %s", [row["id"]])
    assert 5000 < log["size"] <= 8192


class Odd(dict):
    def items(self):
        raise AttributeError("odd")


def test_a_result_that_raises_when_it_is_encoded_ends_its_job_alone(runner, handler):
    handler(runner, "a", lambda job: Odd(a=1))
    handler(runner, "b", lambda job: "fine")
    runner.start(max_global_concurrency=1)
    row = runner.finish("a")
    assert (row["status"], row["last_error_code"]) == ("DEAD_LETTERED", "job.invalid_output")
    assert runner.finish("b")["output"] == "fine"


# --- short handlers share a task, and must not notice ---


VARIABLE = contextvars.ContextVar("variable", default="clean")


def test_handlers_that_wait_for_nothing_share_a_task(runner):
    tasks, ids = [], []

    async def work(job):
        tasks.append(asyncio.current_task())

    runner.app.register("a", work)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(10)]
    runner.start()
    for job_id in ids:
        assert runner.wait(job_id)["status"] == "SUCCEEDED"
    assert len(set(tasks)) < 10
    assert None not in tasks


def test_a_handler_finds_no_variables_of_another(runner):
    """Of those that share a task too: what one sets is gone for the next."""
    seen = []

    async def work(job):
        seen.append(VARIABLE.get())
        VARIABLE.set("left behind")
        if job.payload["wait"]:
            await asyncio.sleep(0)

    runner.app.register("a", work)
    runner.define()
    ids = [runner.enqueue("a", {"wait": n % 3 == 2}) for n in range(20)]
    runner.start()
    for job_id in ids:
        runner.wait(job_id)
    assert seen == ["clean"] * 20


def test_a_handler_that_cancels_its_own_task_ends_no_other_job(runner):
    async def work(job):
        if job.payload["cancel"]:
            asyncio.current_task().cancel()
            return "not waiting any more"
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "whole"

    runner.app.register("a", work)
    runner.define()
    ids = [runner.enqueue("a", {"cancel": n % 2 == 0}) for n in range(8)]
    runner.start()
    rows = [runner.wait(job_id) for job_id in ids]
    assert [row["output"] for row in rows] == ["not waiting any more", "whole"] * 4
    assert {row["attempt"] for row in rows} == {1}


def test_handlers_that_wait_are_at_work_at_once(runner):
    """All of a batch meet: none of them is kept waiting by another one that has begun."""
    arrived, everybody = [], asyncio.Event()

    async def work(job):
        arrived.append(job.job_id)
        if len(arrived) == 24:
            everybody.set()
        async with asyncio.timeout(15):
            await everybody.wait()

    runner.app.register("a", work)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(24)]
    runner.start(claim_batch_size=24)
    assert [runner.wait(job_id)["status"] for job_id in ids] == ["SUCCEEDED"] * 24


def test_a_handler_that_blocks_does_not_keep_outcomes_from_leaving(runner):
    """Many that block a little each: what the first ones did is recorded before the last ones begin."""
    recorded = []

    async def work(job):
        time.sleep(0.02)  # noqa: ASYNC251
        recorded.append(runner.db.value("select count(*) from runledger.job_queue where status = 'SUCCEEDED'"))

    runner.app.register("a", work)
    runner.define()
    ids = [runner.enqueue("a") for _ in range(32)]
    runner.start(claim_batch_size=32)
    assert [runner.wait(job_id)["status"] for job_id in ids] == ["SUCCEEDED"] * 32
    assert recorded[-1] > 0
