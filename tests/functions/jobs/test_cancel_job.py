"""cancel_job: any unfinished job, and what its handler then hears."""

from __future__ import annotations

from datetime import timedelta

from tests.support.clock import Clock
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def test_a_pending_job_is_canceled_for_good(q: Ledger):
    job_id = q.enqueue()
    row = q.row("cancel_job", job_id=job_id, reason="no longer wanted")
    assert row == {"job_id": job_id, "disposition": "CANCELED", "status": "CANCELED", "lease_quiesces_at": None}
    job = q.job(job_id)
    assert (job["status"], job["status_reason"], job["finished_at"] is not None) == ("CANCELED", "no longer wanted", True)
    assert q.told(job_id) == [("ENQUEUED", 1, None), ("CANCELED", 1, None)]
    assert q.event(job_id, "CANCELED")["payload"] == {"reason": "no longer wanted", "lease_quiesces_at": None}
    assert q.claim() == []


def test_a_job_waiting_for_its_retry_is_canceled(q: Ledger):
    lease = q.leased()
    q.fail(lease)
    before = q.db.attempts(lease["job_id"])
    q.row("cancel_job", job_id=lease["job_id"])
    assert q.db.attempts(lease["job_id"]) == before
    assert q.told(lease["job_id"])[-1] == ("CANCELED", 1, 1)
    assert q.job(lease["job_id"])["status_reason"] == "CANCELED"


def test_a_leased_job_is_canceled_and_its_handler_hears_of_it(q: Ledger):
    for prestart in (False, True):
        lease = q.leased(prestart=prestart)
        expires_at = q.job(lease["job_id"])["lease_expires_at"]
        row = q.row("cancel_job", job_id=lease["job_id"], reason="stop")
        assert (row["disposition"], row["lease_quiesces_at"]) == ("CANCELED", expires_at)
        job, [attempt] = q.job(lease["job_id"]), q.db.attempts(lease["job_id"])
        assert (job["status"], job["worker_id"], job["lease_token"], job["lease_expires_at"]) == ("CANCELED", None, lease["lease_token"], expires_at)
        assert (attempt["disposition"], attempt["outcome"], attempt["finished_at"]) == ("CANCELED", None, job["finished_at"])
        event = q.event(job["id"], "CANCELED")
        assert event["attempt"] == 1
        assert event["payload"]["lease_quiesces_at"] is not None
        with q.unchanged():
            assert q.beat(lease) == ["CANCELED"]
            with q.refused("job.canceled", "RL003"):
                q.row("report_progress", **lease, done=1, total=2)
            with q.refused("job.canceled", "RL003"):
                q.succeed(lease, output=1)


def test_a_lease_that_ran_out_leaves_nobody_at_work(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=1)
    clock.advance(2)
    row = q.row("cancel_job", job_id=lease["job_id"])
    job = q.job(lease["job_id"])
    assert (row["lease_quiesces_at"], job["lease_token"], job["lease_expires_at"]) == (None, None, None)
    assert q.finish_one(lease, "SUCCEEDED")["code"] == "job.canceled"


def test_canceling_again_changes_nothing(q: Ledger, clock: Clock):
    pending, lease = q.enqueue(priority=-1), q.leased(lease_seconds=10)
    for job_id in (pending, lease["job_id"]):
        first = q.row("cancel_job", job_id=job_id, reason="first")
        with q.unchanged():
            again = q.row("cancel_job", job_id=job_id, reason="second")
        assert again == {**first, "disposition": "UNCHANGED"}
    clock.advance(11)
    assert q.row("cancel_job", job_id=lease["job_id"])["lease_quiesces_at"] is None


def test_the_late_word_of_the_handler_ends_the_waiting(q: Ledger):
    for outcome in ({"outcome": "SUCCEEDED", "output": 1}, {"outcome": "FAILED", "error_code": "e"}, {"outcome": "CONTINUE"}, {"outcome": "RELEASE", "reason": "stopped"}):
        lease = q.leased()
        q.row("cancel_job", job_id=lease["job_id"])
        for _ in range(2):
            row = q.finish_one(lease, **outcome)
            assert (row["disposition"], row["code"], row["status"], row["replayed"]) == ("LEASE_LOST", "job.canceled", "CANCELED", False)
            job = q.job(lease["job_id"])
            assert (job["lease_token"], job["lease_expires_at"], job["output"]) == (None, None, None)
        assert q.db.events(lease["job_id"])[-1] == "CANCELED"
        assert q.row("requeue_job", job_id=lease["job_id"])["run_number"] == 2
        q.row("cancel_job", job_id=lease["job_id"])


def test_the_word_of_an_earlier_run_ends_no_waiting(q: Ledger, clock: Clock):
    """Else a zombie of run 1 could declare the handler of run 2 quiet, and a third start beside it."""
    old = q.leased(lease_seconds=5)
    q.row("cancel_job", job_id=old["job_id"])
    clock.advance(6)
    q.row("requeue_job", job_id=old["job_id"])
    new = q.hold(old["job_id"], lease_seconds=600)
    q.row("cancel_job", job_id=old["job_id"])
    with q.unchanged():
        assert q.finish_one(old, "SUCCEEDED")["disposition"] == "LEASE_LOST"
        with q.refused("job.cancellation_not_quiesced"):
            q.row("requeue_job", job_id=old["job_id"])
    assert q.job(old["job_id"])["lease_token"] == new["lease_token"]


def test_a_lost_lease_does_not_quiet_a_canceled_job(q: Ledger):
    lease = q.leased()
    q.row("cancel_job", job_id=lease["job_id"])
    with q.unchanged():
        assert q.finish_one({**lease, "lease_token": lease["lease_token"] + 1}, "SUCCEEDED")["code"] == "job.lease_owner_mismatch"


def test_finished_jobs_are_not_canceled(q: Ledger):
    done = q.leased()
    q.succeed(done)
    dead = q.dead()
    with q.unchanged():
        for job_id, status in ((done["job_id"], "SUCCEEDED"), (dead, "DEAD_LETTERED")):
            with q.refused("job.invalid_state_transition", "RL004") as told:
                q.row("cancel_job", job_id=job_id)
            assert told.detail["status"] == status


def test_cancel_sees_only_the_tenant_it_is_given(q: Ledger):
    mine, global_job = q.enqueue(organization_id=TENANT), q.enqueue()
    with q.unchanged():
        for job_id, tenant in ((mine, OTHER_TENANT), (global_job, TENANT), (NOBODY, None), (None, None)):
            with q.refused("job.not_found", "RL001"):
                q.row("cancel_job", job_id=job_id, organization_id=tenant)
        for reason in ("", " ", "x" * 8193):
            with q.refused("job.invalid_reason"):
                q.row("cancel_job", job_id=mine, reason=reason)
    assert q.row("cancel_job", job_id=mine, organization_id=TENANT)["disposition"] == "CANCELED"
    assert q.row("cancel_job", job_id=global_job)["disposition"] == "CANCELED"


def test_the_reaper_forgets_what_must_be_quiet_by_now(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=5)
    q.row("cancel_job", job_id=lease["job_id"])
    assert q.reap() == []
    assert q.job(lease["job_id"])["lease_token"] == lease["lease_token"]
    clock.advance(6)
    events = q.told(lease["job_id"])
    assert q.reap() == []
    job = q.job(lease["job_id"])
    assert (job["status"], job["lease_token"], job["lease_expires_at"]) == ("CANCELED", None, None)
    assert q.told(lease["job_id"]) == events
    # Its handler, should it still speak, is told the same.
    assert q.beat(lease) == ["CANCELED"]
    assert q.finish_one(lease, "SUCCEEDED")["code"] == "job.canceled"


def test_a_heartbeat_does_not_prolong_a_canceled_lease(q: Ledger):
    lease = q.leased(lease_seconds=5)
    until = q.row("cancel_job", job_id=lease["job_id"])["lease_quiesces_at"]
    q.beat(lease, lease_seconds=600)
    assert q.job(lease["job_id"])["lease_expires_at"] == until
    assert until - q.job(lease["job_id"])["created_at"] < timedelta(seconds=60)
