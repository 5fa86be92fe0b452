"""succeed_job, fail_job, continue_job, release_job: one outcome each, raising where the batch reports."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, Ledger, Raw

DAY = 86_400


def test_succeed_stores_the_result(q: Ledger):
    lease = q.leased(max_attempts=3)
    q.fail(lease, code="first.failure")
    q.db.execute("update runledger.job_queue set next_run_at = now()")
    lease = q.hold(lease["job_id"])
    row = q.succeed(lease, output={"message_id": 7}, checkpoint={"page": 9}, done=9, total=9)
    assert (row["disposition"], row["replayed"], row["status"], row["code"]) == ("SUCCEEDED", False, "SUCCEEDED", None)
    job = q.job(lease["job_id"])
    assert (job["output"], job["checkpoint"], job["progress_done"], job["progress_total"]) == (
        {"message_id": 7},
        {"page": 9},
        9,
        9,
    )
    assert (job["stage"], job["status_reason"], job["last_error_code"], job["last_error_message"]) == (
        "completed",
        None,
        None,
        None,
    )
    attempt = q.db.attempts(lease["job_id"])[1]
    assert (attempt["disposition"], attempt["outcome"], attempt["error_code"], attempt["retry_delay_ms"]) == (
        "SUCCEEDED",
        None,
        None,
        None,
    )
    assert attempt["finished_at"] == job["finished_at"]
    event = q.event(lease["job_id"], "SUCCEEDED")
    assert (event["stage"], event["progress_done"], event["progress_total"], event["payload"]) == (
        "completed",
        9,
        9,
        {},
    )


def test_a_retryable_failure_goes_back_to_pending(q: Ledger, clock: Clock):
    lease = q.leased(max_attempts=3)
    q.row("report_progress", **lease, done=1, total=2, checkpoint={"a": 1}, stage="half way")
    started = q.job(lease["job_id"])["started_at"]
    row = q.fail(lease, code="smtp.busy", message="421 try later")
    job, [attempt] = q.job(lease["job_id"]), q.db.attempts(lease["job_id"])
    assert (row["disposition"], row["status"], row["code"], row["next_run_at"]) == (
        "RETRY_SCHEDULED",
        "PENDING",
        "smtp.busy",
        job["next_run_at"],
    )
    assert (job["run_number"], job["attempt"], job["status_reason"]) == (1, 1, "RETRYABLE")
    assert (job["last_error_code"], job["last_error_message"]) == ("smtp.busy", "421 try later")
    assert (job["stage"], job["progress_done"], job["checkpoint"], job["started_at"]) == (
        "half way",
        1,
        {"a": 1},
        started,
    )
    assert (attempt["disposition"], attempt["outcome"], attempt["error_code"], attempt["error_message"]) == (
        "RETRY_SCHEDULED", "RETRYABLE", "smtp.busy", "421 try later",
    )  # fmt: skip
    assert attempt["effective_next_run_at"] == job["next_run_at"]
    assert job["next_run_at"] - attempt["finished_at"] == timedelta(milliseconds=attempt["retry_delay_ms"])
    assert (attempt["retry_timing_source"], attempt["requested_retry_not_before"]) == ("POLICY", None)
    assert q.event(lease["job_id"], "FAILED")["payload"] == {
        "kind": "RETRYABLE", "error_code": "smtp.busy", "error_message": "421 try later",
    }  # fmt: skip
    told = q.event(lease["job_id"], "RETRY_SCHEDULED")["payload"]
    assert (told["kind"], told["retry_delay_ms"], told["retry_timing_source"]) == (
        "RETRYABLE",
        attempt["retry_delay_ms"],
        "POLICY",
    )


def formula(job_id: UUID, attempt: int, base: int = 5000, longest: int = 300_000) -> int:
    """The base doubled per attempt, capped, half a second of jitter that belongs to the job."""
    jitter = int(str(job_id)[-7:], 16) % 1001 - 500
    return max(1000, min(base * 2 ** min(max(attempt, 1), 10), longest) + jitter)


def test_delays_follow_the_formula_with_a_jitter_of_the_job(q: Ledger, clock: Clock):
    job_id = q.enqueue(max_attempts=9)
    for attempt in range(1, 9):
        lease = q.hold(job_id)
        q.fail(lease)
        assert q.db.attempts(job_id)[-1]["retry_delay_ms"] == formula(job_id, attempt)
        clock.advance(301)
    delays = [a["retry_delay_ms"] for a in q.db.attempts(job_id)]
    assert [round(d / 10_000) for d in delays] == [1, 2, 4, 8, 16, 30, 30, 30]


def test_delays_follow_the_policy_of_the_type(db: Db, q: Ledger):
    q.define("fast", retry_base_ms=100, retry_max_ms=2000)
    q.define("slow", retry_base_ms=60_000, retry_max_ms=3_600_000)
    ids = [NOBODY, UUID(int=2**128 - 1), UUID("01890a5d-ac96-774b-bcce-b302099a8057")]
    for name, base, longest in (("fast", 100, 2000), ("slow", 60_000, 3_600_000), ("t", 5000, 300_000)):
        for job_id in ids:
            for attempt in (0, 1, 2, 5, 10, 11, 64, 10_000):
                got = db.value(
                    "select runledger._retry_delay_ms(d, %s, %s, 'e') from runledger.job_definitions d where job_type = %s",
                    [job_id, attempt, name],
                )
                assert got == formula(job_id, attempt, base, longest)


def test_a_delay_by_error_code_goes_before_the_formula(q: Ledger):
    q.define("a", retry_delays_ms={"smtp.busy": 60_000, "tiny": 1})
    cases = (("a", "smtp.busy", 60_000), ("a", "tiny", 1), ("a", "other", None), ("t", "smtp.busy", None))
    for n, (job_type, code, want) in enumerate(cases):
        lease = q.leased(job_type, priority=n)
        q.fail(lease, code=code)
        [attempt] = q.db.attempts(lease["job_id"])
        assert attempt["retry_delay_ms"] == (want or formula(lease["job_id"], 1))
        assert attempt["retry_timing_source"] == ("ERROR_CODE" if want else "POLICY")
    lease = q.leased("a", priority=9)
    assert q.fail(lease, code="smtp.busy", kind="TERMINAL")["disposition"] == "DEAD_LETTERED"


def test_a_delay_by_error_code_is_a_whole_number_however_it_is_written(q: Ledger):
    q.define("a", retry_delays_ms=Raw('{"busy": 2000.0, "slow": 3e3, "late": 4000.000}'))
    for code, delay in (("busy", 2000), ("slow", 3000), ("late", 4000)):
        lease = q.leased("a")
        q.fail(lease, code=code)
        [attempt] = q.db.attempts(lease["job_id"])
        assert attempt["retry_delay_ms"] == delay


def test_not_before_lengthens_and_never_shortens(q: Ledger, clock: Clock):
    q.define("a", retry_delays_ms={"smtp.busy": 60_000})
    hints = {
        timedelta(seconds=-5): False,
        timedelta(0): False,
        timedelta(seconds=59): False,
        timedelta(seconds=90): True,
    }
    for hint, wins in hints.items():
        lease = q.leased("a")
        until = clock.now() + hint
        row = q.fail(lease, code="smtp.busy", not_before=until)
        [attempt] = q.db.attempts(lease["job_id"])
        assert attempt["requested_retry_not_before"] == until
        assert attempt["retry_timing_source"] == ("HANDLER_NOT_BEFORE" if wins else "ERROR_CODE")
        assert (row["next_run_at"] == until) is wins
        assert (
            timedelta(0)
            <= timedelta(milliseconds=attempt["retry_delay_ms"]) - (row["next_run_at"] - attempt["finished_at"])
            < timedelta(milliseconds=1)
        )
        event = q.event(lease["job_id"], "RETRY_SCHEDULED")["payload"]
        assert event["retry_timing_source"] == attempt["retry_timing_source"]
    lease = q.leased(max_attempts=1)
    q.fail(lease, not_before=clock.now() + timedelta(seconds=90))
    assert q.db.attempts(lease["job_id"])[0]["requested_retry_not_before"] is None


@pytest.mark.parametrize("kind", ["RETRYABLE", "TIMEOUT", "TERMINAL", "PANICKED"])
@pytest.mark.parametrize("max_attempts", [1, 2])
def test_the_kind_and_the_budget_decide(q: Ledger, kind: str, max_attempts: int):
    lease = q.leased(max_attempts=max_attempts)
    row = q.fail(lease, kind=kind)
    again = kind in ("RETRYABLE", "TIMEOUT") and max_attempts > 1
    assert row["disposition"] == ("RETRY_SCHEDULED" if again else "DEAD_LETTERED")
    job, [attempt] = q.job(lease["job_id"]), q.db.attempts(lease["job_id"])
    assert (job["status"], job["status_reason"]) == ("PENDING" if again else "DEAD_LETTERED", kind)
    assert (attempt["outcome"], attempt["retry_delay_ms"] is None) == (kind, not again)
    assert q.event(lease["job_id"], "FAILED")["payload"]["kind"] == kind
    if not again:
        assert q.event(lease["job_id"], "DEAD_LETTERED")["payload"] == {"kind": kind, "error_code": "e.x"}


def test_a_dead_letter_keeps_what_failed(q: Ledger, clock: Clock):
    lease = q.leased(payload={"a": 1}, max_attempts=2)
    q.fail(lease, code="first")
    clock.advance(60)
    lease = q.hold(lease["job_id"])
    q.row("report_progress", **lease, checkpoint={"page": 3})
    q.fail(lease, code="last", message="gave up")
    letter = q.db.one("select * from runledger.job_dead_letters")
    assert (letter["job_id"], letter["job_type"], letter["run_number"], letter["attempt"]) == (
        lease["job_id"],
        "t",
        1,
        2,
    )
    assert (letter["error_code"], letter["error_message"]) == ("last", "gave up")
    assert (letter["payload_snapshot"], letter["checkpoint_snapshot"]) == ({"a": 1}, {"page": 3})
    assert letter["failed_at"] == q.job(lease["job_id"])["finished_at"]


def test_a_later_dead_letter_replaces_the_first(q: Ledger):
    job_id = q.dead()
    q.row("requeue_job", job_id=job_id)
    assert q.db.value("select run_number from runledger.job_dead_letters") == 1
    q.fail(q.hold(job_id), code="second", kind="PANICKED")
    letter = q.db.one("select * from runledger.job_dead_letters")
    assert (letter["run_number"], letter["attempt"], letter["error_code"]) == (2, 1, "second")


def test_the_row_decides_not_what_the_worker_was_told(q: Ledger):
    lease = q.leased(max_attempts=5)
    q.db.execute("update runledger.job_queue set max_attempts = 1")
    assert q.fail(lease)["disposition"] == "DEAD_LETTERED"


def test_any_error_code_is_the_handler_s_to_use(q: Ledger):
    for code in ("job.lease_owner_mismatch", "job.canceled", "job.timeout_exceeded", "job.released_too_often"):
        lease = q.leased()
        row = q.fail(lease, code=code)
        assert (row["disposition"], row["code"]) == ("RETRY_SCHEDULED", code)
        assert q.db.attempts(lease["job_id"])[0]["error_code"] == code


def test_a_wordy_error_is_cut_not_refused(q: Ledger):
    lease = q.leased()
    q.fail(lease, message="ü" * 100_000)
    message = q.job(lease["job_id"])["last_error_message"]
    assert message.endswith("...")
    assert len(message.encode()) <= 8192
    lease = q.leased()
    q.fail(lease, message=None)
    assert q.job(lease["job_id"])["last_error_message"] is None


def test_continue_starts_a_fresh_run_of_the_same_job(q: Ledger, clock: Clock):
    lease = q.leased(max_attempts=2)
    q.row("report_progress", **lease, done=1, total=4, checkpoint={"page": 1}, stage="reading")
    row = q.row("continue_job", **lease, delay=timedelta(seconds=90), checkpoint={"page": 2}, done=2)
    job, [attempt] = q.job(lease["job_id"]), q.db.attempts(lease["job_id"])
    assert (row["disposition"], row["status"], row["next_run_at"]) == ("CONTINUED", "PENDING", job["next_run_at"])
    assert (job["run_number"], job["attempt"], job["started_at"], job["stage"]) == (2, 0, None, "queued")
    assert (job["progress_done"], job["progress_total"], job["checkpoint"]) == (2, 4, {"page": 2})
    assert (attempt["disposition"], attempt["outcome"], attempt["run_number"]) == ("CONTINUED", None, 1)
    event = q.event(lease["job_id"], "REQUEUED")
    assert (event["run_number"], event["attempt"], event["stage"]) == (1, 1, "queued")
    told = event["payload"]
    assert (told["reason"], told["requeue_kind"], told["next_run_number"], told["delay_microseconds"]) == (
        "HANDLER_CONTINUATION", "HANDLER_CONTINUATION", 2, 90_000_000,
    )  # fmt: skip
    assert q.claim() == []
    clock.advance(91)
    again = q.hold(job["id"])
    q.fail(again)
    clock.advance(60)
    # The budget of attempts is that of the run.
    assert q.fail(q.hold(job["id"]))["disposition"] == "DEAD_LETTERED"


def test_release_gives_the_attempt_back(q: Ledger, clock: Clock):
    for prestart in (False, True):
        lease = q.leased(max_attempts=1, prestart=prestart)
        row = q.release(lease, delay=timedelta(seconds=5))
        job = q.job(lease["job_id"])
        assert (row["disposition"], row["status"], row["next_run_at"]) == ("RELEASED", "PENDING", job["next_run_at"])
        assert (job["attempt"], job["run_number"], job["started_at"], job["status_reason"]) == (
            0,
            1,
            None,
            "WORKER_SHUTDOWN",
        )
        assert (job["release_count"], job["last_lease_token"], job["last_disposition"]) == (
            1,
            lease["lease_token"],
            "RELEASED",
        )
        assert q.db.attempts(job["id"]) == []
        told = q.event(job["id"], "REQUEUED")
        assert (told["run_number"], told["attempt"], told["payload"]["reason"], told["payload"]["refunded"]) == (
            1,
            1,
            "WORKER_SHUTDOWN",
            True,
        )
        assert q.claim() == []
        clock.advance(6)
        q.succeed(q.hold(job["id"]))
        assert [a["attempt"] for a in q.db.attempts(job["id"])] == [1]


def test_release_of_a_later_attempt_keeps_the_earlier_ones(q: Ledger, clock: Clock):
    lease = q.leased(max_attempts=2)
    started = q.job(lease["job_id"])["started_at"]
    q.fail(lease)
    clock.advance(60)
    lease = q.hold(lease["job_id"])
    q.release(lease)
    job = q.job(lease["job_id"])
    assert (job["attempt"], job["started_at"], job["last_error_code"]) == (1, started, None)
    assert [a["attempt"] for a in q.db.attempts(job["id"])] == [1]


def test_releases_are_refunded_a_hundred_times(q: Ledger):
    job_id = q.enqueue(max_attempts=2)
    q.db.execute("update runledger.job_queue set release_count = 98")
    for released in (99, 100):
        assert q.release(q.hold(job_id))["disposition"] == "RELEASED"
        job = q.job(job_id)
        assert (job["attempt"], job["release_count"]) == (0, released)
    # From here on the attempt is charged.
    lease = q.hold(job_id)
    assert q.release(lease)["disposition"] == "RELEASED"
    assert q.job(job_id)["attempt"] == 1
    assert q.release(lease)["replayed"] is True
    [attempt] = q.db.attempts(job_id)
    assert (attempt["disposition"], attempt["outcome"]) == ("RELEASED", None)
    # And on the last one there is nothing left to come back with.
    lease = q.hold(job_id)
    for replayed in (False, True):
        row = q.release(lease)
        assert (row["disposition"], row["replayed"], row["code"]) == (
            "DEAD_LETTERED",
            replayed,
            "job.released_too_often",
        )
    assert q.db.value("select error_code from runledger.job_dead_letters") == "job.released_too_often"
    # A new run starts counting anew.
    q.row("requeue_job", job_id=job_id)
    assert q.job(job_id)["release_count"] == 0


VERBS: dict[str, dict] = {
    "report_progress": {"done": 1, "total": 2, "checkpoint": {"a": 1}, "stage": "x"},
    "succeed_job": {"output": 1},
    "fail_job": {"error_code": "e", "error_message": "m"},
    "continue_job": {},
    "release_job": {"reason": "shutdown"},
}


def wrong_leases(q: Ledger, clock: Clock) -> dict[str, tuple[dict, str]]:
    """Leases that are no good: how each came about, and the code every verb answers with."""
    reused = q.leased()
    q.release(reused)
    q.hold(reused["job_id"])
    expired = q.leased(lease_seconds=1)
    clock.advance(2)
    held, foreign, done, dead, retried, canceled = (q.leased() for _ in range(6))
    pending = q.enqueue(priority=-1)
    q.succeed(done)
    q.fail(dead, kind="TERMINAL")
    q.fail(retried)
    q.row("cancel_job", job_id=canceled["job_id"])
    mismatch = "job.lease_owner_mismatch"
    return {
        "expired": (expired, mismatch),
        "stale": ({**held, "lease_token": held["lease_token"] - 1}, mismatch),
        "foreign": ({**held, "lease_token": foreign["lease_token"]}, mismatch),
        "never issued": ({**held, "lease_token": 1 << 62}, mismatch),
        "negative": ({**held, "lease_token": -1}, mismatch),
        "released and claimed again": (reused, mismatch),
        "of a pending job": ({"job_id": pending, "lease_token": 1}, mismatch),
        "succeeded": (done, mismatch),
        "dead-lettered": (dead, mismatch),
        "waiting for its retry": (retried, mismatch),
        "canceled": (canceled, "job.canceled"),
        "canceled, by another": ({**canceled, "lease_token": held["lease_token"]}, mismatch),
        "of nobody": ({"job_id": NOBODY, "lease_token": 1}, "job.not_found"),
    }


@pytest.mark.parametrize("verb", VERBS)
def test_a_lease_that_is_not_held_changes_nothing(q: Ledger, clock: Clock, verb: str):
    repeated = {  # The same completion once more is no error: see test_finish_jobs.
        "succeed_job": "succeeded", "release_job": "released and claimed again", "fail_job": "waiting for its retry",
    }.get(verb)  # fmt: skip
    leases = wrong_leases(q, clock)
    with q.unchanged():
        for name, (lease, code) in leases.items():
            if name == repeated:
                assert q.row(verb, **lease, **VERBS[verb])["replayed"] is True
                continue
            with q.refused(code, "RL001" if code == "job.not_found" else "RL003") as told:
                q.row(verb, **lease, **VERBS[verb])
            assert told.detail["job_id"] == str(lease["job_id"]), name


@pytest.mark.parametrize("verb", VERBS)
def test_ids_and_tokens_are_asked_for(q: Ledger, verb: str):
    lease = q.leased()
    with q.unchanged():
        for missing, finish_code, progress_code in (
            ("job_id", "job.invalid_id", "job.not_found"), ("lease_token", "job.invalid_tokens", "job.lease_owner_mismatch"),
        ):  # fmt: skip
            with q.refused(progress_code if verb == "report_progress" else finish_code):
                q.row(verb, **{**lease, missing: None}, **VERBS[verb])


def refusals(q: Ledger, lease: dict) -> list[tuple[str, Callable[[], object]]]:
    big, deep, huge = "x" * 262_144, Raw("[" * 300 + "]" * 300), Raw("[1e999]")
    return [
        ("job.invalid_completion_progress", lambda: q.succeed(lease, done=2, total=1)),
        ("job.invalid_completion_progress", lambda: q.succeed(lease, done=-1)),
        ("json.too_large", lambda: q.succeed(lease, output=big)),
        ("json.too_deep", lambda: q.succeed(lease, checkpoint=deep)),
        ("json.number_out_of_range", lambda: q.succeed(lease, output=huge)),
        ("job.invalid_failure_kind", lambda: q.fail(lease, kind="LEASE_EXPIRED")),
        ("job.invalid_failure_kind", lambda: q.fail(lease, kind=None)),
        ("job.invalid_error_code", lambda: q.fail(lease, code=" ")),
        ("job.invalid_error_code", lambda: q.fail(lease, code=None)),
        ("job.invalid_error_code", lambda: q.fail(lease, code="x" * 201)),
        ("job.invalid_retry_timing", lambda: q.fail(lease, not_before="infinity")),
        ("job.invalid_retry_timing", lambda: q.fail(lease, not_before="2999-01-01")),
        ("job.invalid_continuation_delay", lambda: q.row("continue_job", **lease, delay="-1 s")),
        ("job.invalid_continuation_delay", lambda: q.row("continue_job", **lease, delay="11 years")),
        ("job.invalid_continuation_delay", lambda: q.row("continue_job", **lease, delay="10 years")),
        ("job.invalid_continuation_delay", lambda: q.row("continue_job", **lease, delay=None)),
        ("job.invalid_completion_progress", lambda: q.row("continue_job", **lease, total=-1)),
        ("json.too_large", lambda: q.row("continue_job", **lease, checkpoint=big)),
        ("job.invalid_reason", lambda: q.release(lease, reason=" ")),
        ("job.invalid_reason", lambda: q.release(lease, reason=None)),
        ("job.invalid_reason", lambda: q.release(lease, reason="x" * 8193)),
        ("job.invalid_retry_delay", lambda: q.release(lease, delay="-1 s")),
        ("job.invalid_retry_delay", lambda: q.release(lease, delay="-1 us")),
        # As an interval it equals nothing; in seconds a year is more than 12 months of 30 days.
        ("job.invalid_retry_delay", lambda: q.release(lease, delay="-1 year 360 days")),
        ("job.invalid_retry_delay", lambda: q.release(lease, delay=None)),
    ]


def test_a_refused_outcome_leaves_the_lease_as_it_was(q: Ledger):
    lease = q.leased()
    with q.unchanged():
        for code, call in refusals(q, lease):
            with q.refused(code):
                call()
    assert q.succeed(lease)["disposition"] == "SUCCEEDED"


def test_no_refusal_tells_a_body(q: Ledger):
    lease = q.leased(payload="SECRET", idempotency_key="SECRET")
    for code, call in {
        "json.too_large": lambda: q.succeed(lease, output=["SECRET"] * 50_000),
        "job.invalid_error_code": lambda: q.fail(lease, code="", message="SECRET"),
        "job.invalid_completion_progress": lambda: q.succeed(lease, output="SECRET", done=2, total=1),
        "job.lease_owner_mismatch": lambda: q.succeed({**lease, "lease_token": 0}, output="SECRET"),
    }.items():
        with q.refused(code) as told:
            call()
        assert "SECRET" not in told.text


def test_workflow_steps_continue_only_if_they_may(db: Db, q: Ledger):
    run = db.value("select runledger._uuidv7()")
    lease = q.leased()
    db.execute("update runledger.job_queue set workflow_run_id = %s where id = %s", [run, lease["job_id"]])
    with q.unchanged(), q.refused("job.workflow_handler_continuation_not_enabled", "RL004"):
        q.row("continue_job", **lease)
    db.execute("update runledger.job_queue set workflow_run_id = null")
