"""requeue_job and redrive_dead_letters: a new run of a finished job."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def finished(q: Ledger) -> dict:
    lease = q.leased(max_attempts=1)
    q.row("report_progress", **lease, done=1, total=2, checkpoint={"page": 1}, stage="half way")
    q.fail(lease, code="e.x")
    return lease


def test_a_dead_job_runs_again_from_the_start(q: Ledger, clock: Clock):
    lease = finished(q)
    clock.advance(60)
    row = q.row("requeue_job", job_id=lease["job_id"], reason="bug 12 is fixed")
    assert row == {"job_id": lease["job_id"], "disposition": "REQUEUED", "status": "PENDING", "run_number": 2}
    job = q.job(lease["job_id"])
    assert (job["status"], job["run_number"], job["attempt"], job["stage"]) == ("PENDING", 2, 0, "queued")
    for column in (
        "started_at",
        "finished_at",
        "output",
        "last_error_code",
        "last_error_message",
        "checkpoint",
        "progress_done",
        "progress_total",
        "lease_token",
        "last_lease_token",
    ):
        assert job[column] is None, column
    assert (job["status_reason"], job["next_run_at"]) == ("bug 12 is fixed", job["updated_at"])
    assert q.told(lease["job_id"])[-1] == ("REQUEUED", 1, 1)
    told = q.event(lease["job_id"], "REQUEUED")["payload"]
    assert (told["reason"], told["requeue_kind"], told["state_policy"], told["next_run_number"]) == (
        "bug 12 is fixed",
        "BASIC",
        "RESET",
        2,
    )
    q.succeed(q.hold(lease["job_id"]))
    assert [(a["run_number"], a["attempt"]) for a in q.db.attempts(lease["job_id"])] == [(1, 1), (2, 1)]
    assert q.db.value("select run_number from runledger.job_dead_letters") == 1


def test_a_requeue_may_keep_progress_and_checkpoint(q: Ledger):
    lease = finished(q)
    q.row("requeue_job", job_id=lease["job_id"], reset_state=False)
    job = q.job(lease["job_id"])
    assert (job["progress_done"], job["progress_total"], job["checkpoint"], job["stage"]) == (
        1,
        2,
        {"page": 1},
        "queued",
    )
    assert job["status_reason"] == "REQUEUED"
    assert q.event(lease["job_id"], "REQUEUED")["payload"]["state_policy"] == "PRESERVE"


def test_a_canceled_job_runs_again(q: Ledger):
    job_id = q.enqueue()
    q.row("cancel_job", job_id=job_id)
    assert q.row("requeue_job", job_id=job_id)["run_number"] == 2
    assert q.told(job_id)[-1] == ("REQUEUED", 1, None)
    q.hold(job_id)


def test_a_canceled_job_waits_until_its_handler_is_quiet(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=10)
    until = q.row("cancel_job", job_id=lease["job_id"])["lease_quiesces_at"]
    with q.unchanged(), q.refused("job.cancellation_not_quiesced", "RL021") as told:
        q.row("requeue_job", job_id=lease["job_id"])
    assert datetime.fromisoformat(told.detail["retry_after"]) == until
    clock.advance(11)
    assert q.row("requeue_job", job_id=lease["job_id"])["run_number"] == 2
    assert q.beat(lease) == ["LOST"]
    # Nor does a cancel of the new run speak to the handler of the old one.
    q.row("cancel_job", job_id=lease["job_id"])
    assert q.beat(lease) == ["LOST"]


def test_jobs_in_other_states_are_not_requeued(q: Ledger):
    done, leased, waiting = q.leased(), q.leased(), q.leased()
    q.succeed(done)
    q.fail(waiting)
    pending = q.enqueue()
    with q.unchanged():
        for job_id, status in (
            (done["job_id"], "SUCCEEDED"),
            (leased["job_id"], "LEASED"),
            (waiting["job_id"], "PENDING"),
            (pending, "PENDING"),
        ):
            with q.refused("job.invalid_state_transition", "RL004") as told:
                q.row("requeue_job", job_id=job_id, expected_status=status)
            assert told.detail["status"] == status


def test_a_requeue_may_ask_for_what_it_saw(q: Ledger):
    job_id = q.dead()
    with q.unchanged():
        for expected in (
            *({"expected_status": status} for status in ("PENDING", "LEASED", "SUCCEEDED", "CANCELED")),
            {"expected_run_number": 2},
            {"expected_status": "PENDING", "expected_run_number": 1},
        ):
            with q.refused("job.requeue_expectation_mismatch", "RL021") as told:
                q.row("requeue_job", job_id=job_id, **expected)
            assert (told.detail["status"], told.detail["run_number"]) == ("DEAD_LETTERED", 1)
    q.row("requeue_job", job_id=job_id, expected_status="DEAD_LETTERED", expected_run_number=1)
    assert q.event(job_id, "REQUEUED")["payload"]["requeue_kind"] == "COMPARE_AND_REQUEUE"
    # Sent twice, it does it once.
    with q.unchanged(), q.refused("job.requeue_expectation_mismatch"):
        q.row("requeue_job", job_id=job_id, expected_status="DEAD_LETTERED", expected_run_number=1)


def test_requeue_refuses(db: Db, q: Ledger):
    job_id, foreign = q.dead(), q.dead(organization_id=TENANT)
    step = q.dead()
    db.execute("update runledger.job_queue set workflow_run_id = runledger._uuidv7() where id = %s", [step])
    with q.unchanged():
        for arguments, code in (
            ({"job_id": NOBODY}, "job.not_found"), ({"job_id": None}, "job.not_found"),
            ({"job_id": foreign, "organization_id": OTHER_TENANT}, "job.not_found"),
            ({"job_id": job_id, "organization_id": TENANT}, "job.not_found"),
            ({"job_id": step}, "job.workflow_requeue_not_supported"),
            ({"job_id": job_id, "expected_status": "DEAD"}, "job.invalid_status"),
            ({"job_id": job_id, "reason": " "}, "job.invalid_reason"),
        ):  # fmt: skip
            with q.refused(code):
                q.row("requeue_job", **arguments)
        for isolation in ("repeatable read", "serializable"):
            for verb, arguments in (("requeue_job", {"job_id": job_id}), ("redrive_dead_letters", {"reason": "x"})):
                with q.refused("job.requeue_unsupported_isolation", "RL013"), q.conn.transaction():
                    q.conn.execute(f"set transaction isolation level {isolation}")
                    q.rows(verb, **arguments)
    db.execute("update runledger.job_queue set workflow_run_id = null")
    assert q.row("requeue_job", job_id=foreign, organization_id=TENANT)["run_number"] == 2


def test_a_redacted_job_does_not_run_again(q: Ledger):
    """What it would run on is gone."""
    job_id, lease = q.dead(payload={"a": 1}), q.leased()
    q.succeed(lease)
    for each in (job_id, lease["job_id"]):
        q.row("redact_job", job_id=each, reason="asked to forget")
    with q.unchanged():
        for verb, arguments in (
            ("requeue_job", {"job_id": job_id}),
            ("replay_job", {"job_id": lease["job_id"], "request_key": "k", "reason": "r"}),
        ):
            with q.refused("job.invalid_state_transition"):
                q.row(verb, **arguments)
        assert q.rows("redrive_dead_letters", reason="all") == []


def test_redrive_requeues_the_oldest_failures_first(q: Ledger, clock: Clock):
    dead = []
    for _ in range(5):
        dead.append(q.dead())
        clock.advance(10)
    first = q.rows("redrive_dead_letters", reason="fixed", max_jobs=2)
    assert [r["job_id"] for r in first] == dead[:2]
    assert {(r["disposition"], r["status"], r["run_number"]) for r in first} == {("REQUEUED", "PENDING", 2)}
    assert q.event(dead[0], "REQUEUED")["payload"]["requeue_kind"] == "REDRIVE"
    assert q.job(dead[0])["status_reason"] == "fixed"
    assert {r["job_id"] for r in q.rows("redrive_dead_letters", reason="fixed")} == set(dead[2:])
    assert q.rows("redrive_dead_letters", reason="fixed") == []


def test_redrive_tells_of_the_jobs_in_the_order_of_their_failures(db: Db, q: Ledger, clock: Clock):
    """Neither as they were born nor as their rows lie in the table."""
    leases = [q.leased() for _ in range(3)]
    for lease in reversed(leases):
        q.fail(lease, kind="TERMINAL")
        clock.advance(10)
    oldest = leases[2]["job_id"]
    db.execute("update runledger.job_queue set updated_at = updated_at where id = %s", [oldest])  # now it lies behind the others
    told = [r["job_id"] for r in q.rows("redrive_dead_letters", reason="fixed")]
    assert told == [oldest, leases[1]["job_id"], leases[0]["job_id"]]


def test_redrive_filters_by_type_code_and_time(db: Db, q: Ledger, clock: Clock):
    q.define("u")
    by_type = q.dead("u")
    lease = q.leased()
    q.fail(lease, code="smtp.down", kind="TERMINAL")
    clock.advance(100)
    late = q.dead()
    failed_at = q.job(late)["finished_at"]
    step = q.dead()
    db.execute("update runledger.job_queue set workflow_run_id = runledger._uuidv7() where id = %s", [step])

    def redriven(**filters: object) -> list:
        conn = q.on(autocommit=False)
        ids = [r["job_id"] for r in conn.rows("redrive_dead_letters", reason="x", **filters)]
        conn.conn.rollback()
        return ids

    assert redriven(job_type="u") == [by_type]
    assert redriven(error_code="smtp.down") == [lease["job_id"]]
    assert redriven(failed_after=failed_at) == [late]
    assert set(redriven(failed_before=failed_at)) == {by_type, lease["job_id"]}
    assert redriven(job_type="u", error_code="smtp.down") == redriven(job_type="nobody") == []
    assert step not in redriven()
    db.execute("update runledger.job_queue set workflow_run_id = null")


def test_redrive_records_what_it_was_asked_for_but_no_novels(db: Db, q: Ledger):
    code = "e" * 300
    job_id = q.dead()
    db.execute("update runledger.job_dead_letters set error_code = %s", [code])
    assert [r["job_id"] for r in q.rows("redrive_dead_letters", reason="x", error_code=code)] == [job_id]
    [detail] = db.column("select detail from runledger.operator_actions where action = 'redrive_dead_letters'")
    assert detail == {"jobs": 1, "error_code": code[:200]}


def test_redrive_leaves_jobs_that_were_requeued_alone(q: Ledger):
    job_id = q.dead()
    q.row("requeue_job", job_id=job_id)
    assert q.rows("redrive_dead_letters", reason="x") == []


@pytest.mark.parametrize(
    "arguments, code",
    [({"reason": x}, "job.invalid_reason") for x in (None, "", " ", "x" * 8193)]
    + [({"reason": "x", "max_jobs": x}, "job.invalid_limit") for x in (None, 0, -1, 1001)],
    ids=str,
)
def test_redrive_refuses(q: Ledger, arguments: dict, code: str):
    with q.refused(code, "RL010"):
        q.rows("redrive_dead_letters", **arguments)


def test_a_retry_delay_of_the_old_run_is_gone(q: Ledger, clock: Clock):
    lease = q.leased(max_attempts=2)
    q.fail(lease, not_before=clock.now() + timedelta(days=1))
    q.row("cancel_job", job_id=lease["job_id"])
    q.row("requeue_job", job_id=lease["job_id"])
    assert q.ids() == [lease["job_id"]]
