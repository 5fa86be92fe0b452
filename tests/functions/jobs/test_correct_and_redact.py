"""correct_payload and redact_job: the two changes of what a job carries."""

from __future__ import annotations

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, Ledger, Raw


def test_a_pending_job_gets_another_payload(q: Ledger):
    job_id = q.enqueue(payload={"to": "a"}, idempotency_key="k")
    row = q.row("correct_payload", job_id=job_id, payload={"to": "b"}, reason="typo")
    assert row == {"job_id": job_id, "disposition": "CORRECTED", "status": "PENDING"}
    job = q.job(job_id)
    assert (job["payload"], job["enqueue_request"]["payload"]) == ({"to": "b"}, {"to": "a"})
    event = q.event(job_id, "PAYLOAD_CORRECTED")
    assert event["payload"]["reason"] == "typo"
    assert set(event["payload"]) == {"reason", "by"}
    with q.unchanged():
        assert q.row("correct_payload", job_id=job_id, payload={"to": "b"}, reason="typo")["disposition"] == "UNCHANGED"
    assert q.claim()[0]["payload"] == {"to": "b"}


def test_a_job_waiting_for_its_retry_gets_another_payload(q: Ledger, clock: Clock):
    lease = q.leased(payload=1)
    q.fail(lease)
    q.row("correct_payload", job_id=lease["job_id"], payload=2, reason="typo")
    assert q.told(lease["job_id"])[-1] == ("PAYLOAD_CORRECTED", 1, 1)


def test_other_jobs_keep_their_payload(q: Ledger):
    leased, dead = q.leased()["job_id"], q.dead()
    pending = q.enqueue()
    with q.unchanged():
        for job_id in (leased, dead):
            with q.refused("job.invalid_state_transition", "RL004"):
                q.row("correct_payload", job_id=job_id, payload=1, reason="x")
        for bad, code in (
            ({"job_id": NOBODY}, "job.not_found"), ({"job_id": None}, "job.not_found"), ({"reason": None}, "job.invalid_reason"),
            ({"reason": " "}, "job.invalid_reason"), ({"payload": "x" * 262_144}, "json.too_large"), ({"payload": Raw("1e999")}, "json.number_out_of_range"),
        ):  # fmt: skip
            with q.refused(code):
                q.row("correct_payload", **{"job_id": pending, "payload": {"SECRET": 1}, "reason": "x", **bad})


def test_redaction_erases_every_body_and_keeps_the_history(db: Db, q: Ledger, clock: Clock):
    word = "SECRET"
    lease = q.leased(payload={"a": word}, idempotency_key="the-key", max_attempts=2)
    q.row("report_progress", **lease, checkpoint={"c": word})
    q.row("log_job", **lease, level="info", message=word, payload={"l": word})
    q.fail(lease, message=word)
    clock.advance(60)
    lease = q.hold(lease["job_id"])
    q.fail(lease, message=word)
    job_id, told = lease["job_id"], q.told(lease["job_id"])
    assert word in str(q.snapshot(job_id))
    row = q.row("redact_job", job_id=job_id, reason="asked to forget")
    assert row == {"job_id": job_id, "disposition": "REDACTED", "status": "DEAD_LETTERED"}
    assert word not in str(q.snapshot(job_id))
    assert q.told(job_id) == [*told, ("REDACTED", 1, 2)]
    assert q.event(job_id, "FAILED")["payload"]["error_code"] == "e.x"
    assert q.event(job_id, "REDACTED")["payload"]["reason"] == "asked to forget"
    assert q.job(job_id)["idempotency_key"] == "the-key"
    with q.unchanged():
        assert q.row("redact_job", job_id=job_id, reason="again")["disposition"] == "UNCHANGED"


def test_redaction_erases_an_output(q: Ledger):
    lease = q.leased(payload=1)
    q.succeed(lease, output="SECRET")
    q.row("redact_job", job_id=lease["job_id"], reason="x")
    job = q.job(lease["job_id"])
    assert job["output"] == job["payload"] == {"_redacted": True}
    assert job["checkpoint"] is None


def test_a_log_line_written_after_redaction_is_redacted_by_the_next(q: Ledger):
    job_id = q.dead()
    q.row("redact_job", job_id=job_id, reason="x")
    q.row("log_job", job_id=job_id, level="note", message="SECRET")
    assert q.row("redact_job", job_id=job_id, reason="x")["disposition"] == "REDACTED"
    assert q.db.column("select message from runledger.job_logs") == ["[redacted]"]


def test_unfinished_jobs_are_not_redacted(q: Ledger):
    leased, waiting = q.leased(), q.leased()
    q.fail(waiting)
    pending, canceled = q.enqueue(), q.enqueue()
    q.row("cancel_job", job_id=canceled)
    with q.unchanged():
        for job_id in (leased["job_id"], waiting["job_id"], pending):
            with q.refused("job.invalid_state_transition", "RL004"):
                q.row("redact_job", job_id=job_id, reason="x")
        for bad, code in (
            ({"job_id": NOBODY}, "job.not_found"),
            ({"reason": None}, "job.invalid_reason"),
            ({"reason": ""}, "job.invalid_reason"),
        ):
            with q.refused(code):
                q.row("redact_job", **{"job_id": canceled, "reason": "x", **bad})
    assert q.row("redact_job", job_id=canceled, reason="x")["disposition"] == "REDACTED"
