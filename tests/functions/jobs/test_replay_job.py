"""replay_job: a succeeded job once more, as a new one."""

from __future__ import annotations

from tests.support.database import Db
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def done(q: Ledger, **job: object) -> dict:
    lease = q.leased(**job)
    q.succeed(lease, output={"n": 1}, checkpoint=3, done=1, total=1)
    return lease


def test_a_replay_is_a_new_job_with_the_old_payload(q: Ledger):
    source = done(q, payload={"a": 1}, organization_id=TENANT, priority=3, max_attempts=2, timeout_seconds=7, idempotency_key="k")
    with q.unchanged(source["job_id"]):
        q.conn.execute("begin")
        row = q.row("replay_job", job_id=source["job_id"], request_key="r1", reason="wrong template")
        q.conn.execute("rollback")
    row = q.row("replay_job", job_id=source["job_id"], request_key="r1", reason="wrong template")
    assert row["disposition"] == "INSERTED"
    job = q.job(row["job_id"])
    assert (job["payload"], job["organization_id"], job["priority"], job["max_attempts"], job["timeout_seconds"]) == ({"a": 1}, TENANT, 3, 2, 7)
    assert (job["status"], job["run_number"], job["attempt"], job["stage"]) == ("PENDING", 1, 0, "queued")
    assert (job["idempotency_key"], job["checkpoint"], job["output"], job["progress_done"]) == (None, None, None, None)
    told = q.event(row["job_id"], "ENQUEUED")["payload"]
    assert told == {"job_type": "t", "replayed_from_job_id": str(source["job_id"]), "replayed_from_run_number": 1, "reason": "wrong template"}
    link = q.db.one("select * from runledger.job_replays")
    assert (link["replay_job_id"], link["source_job_id"], link["source_run_number"], link["reason"]) == (row["job_id"], source["job_id"], 1, "wrong template")
    assert q.job(source["job_id"])["output"] == {"n": 1}


def test_a_key_gives_the_same_replay_once(q: Ledger):
    source = done(q)["job_id"]
    first = q.row("replay_job", job_id=source, request_key="r1", reason="why")
    with q.unchanged():
        assert q.row("replay_job", job_id=source, request_key="r1", reason="why") == {**first, "disposition": "EXISTING"}
        with q.refused("job.replay_idempotency_conflict", "RL020") as told:
            q.row("replay_job", job_id=source, request_key="r1", reason="SECRET other")
        assert told.detail["replay_job_id"] == str(first["job_id"])
        assert "SECRET" not in told.text
    assert q.row("replay_job", job_id=source, request_key="r2", reason="why")["job_id"] != first["job_id"]
    q.row("disable_job_type", job_type="t")
    assert q.row("replay_job", job_id=source, request_key="r1", reason="why")["disposition"] == "EXISTING"
    with q.refused("job.definition_not_found_or_disabled", "RL002"):
        q.row("replay_job", job_id=source, request_key="r3", reason="why")


def test_only_succeeded_jobs_are_replayed(db: Db, q: Ledger):
    dead, leased = q.dead(), q.leased()["job_id"]
    pending, canceled = q.enqueue(), q.enqueue()
    q.row("cancel_job", job_id=canceled)
    step = q.hold(pending)
    with q.unchanged():
        for job_id in (dead, leased, pending, canceled):
            with q.refused("job.invalid_state_transition", "RL004"):
                q.row("replay_job", job_id=job_id, request_key="k", reason="r")
    q.succeed(step)
    db.execute("update runledger.job_queue set workflow_run_id = runledger._uuidv7() where id = %s", [pending])
    with q.refused("job.workflow_requeue_not_supported", "RL004"):
        q.row("replay_job", job_id=pending, request_key="k", reason="r")
    db.execute("update runledger.job_queue set workflow_run_id = null")


def test_replay_refuses(q: Ledger):
    source = done(q, organization_id=TENANT)["job_id"]
    good = {"job_id": source, "request_key": "k", "reason": "r"}
    with q.unchanged():
        for bad, code in (
            ({"job_id": NOBODY}, "job.not_found"), ({"job_id": None}, "job.not_found"), ({"organization_id": OTHER_TENANT}, "job.not_found"),
            ({"request_key": None}, "job.replay_request_key_blank"), ({"request_key": " "}, "job.replay_request_key_blank"),
            ({"request_key": "k" * 513}, "job.replay_request_key_too_long"),
            ({"reason": None}, "job.replay_reason_blank"), ({"reason": "\n"}, "job.replay_reason_blank"),
            ({"reason": "x" * 8193}, "job.invalid_reason"),
        ):  # fmt: skip
            with q.refused(code):
                q.row("replay_job", **{**good, **bad})
        for isolation in ("repeatable read", "serializable"):
            with q.refused("job.replay_unsupported_isolation", "RL013"), q.conn.transaction():
                q.conn.execute(f"set transaction isolation level {isolation}")
                q.row("replay_job", **good)
