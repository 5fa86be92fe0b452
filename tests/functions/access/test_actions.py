"""operator_actions: each act of an operator leaves one row, with role, object and reason; what changes nothing leaves none."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.support.database import Db
from tests.support.ledger import NOBODY, Ledger
from tests.support.plpgsql import functions

Acting = Callable[..., Ledger]
SECRET = "this-is-secret"


def done(q: Ledger, **job: Any) -> Any:
    lease = q.leased(**job)
    q.succeed(lease)
    return lease["job_id"]


def waiting_run(q: Ledger) -> Any:
    steps = [{"key": "g", "external": True}, {"key": "a", "job_type": "t"}]
    return q.row("enqueue_workflow", workflow_type="w", steps=steps)["workflow_run_id"]


def scheduled(q: Ledger, **given: Any) -> dict[str, Any]:
    return q.row(
        "upsert_schedule", **{"name": "s", "job_type": "t", "cron": "@daily", "payload": {"x": SECRET}, **given}
    )


# action: (what must be there first, the act itself given that, the object it names, its reason)
ACTS: dict[str, tuple[Callable[[Ledger], Any], Callable[[Ledger, Any], Any], Any, str | None]] = {
    "define_job": (lambda q: None, lambda q, _: q.define("t", max_attempts=3), "t", None),
    "enable_job_type": (lambda q: q.row("disable_job_type", job_type="t"), lambda q, _: q.row("enable_job_type", job_type="t"), "t", None),
    "disable_job_type": (lambda q: None, lambda q, _: q.row("disable_job_type", job_type="t", reason="r"), "t", "r"),
    "pause_job_type": (lambda q: None, lambda q, _: q.row("pause_job_type", job_type="t", reason="r"), "t", "r"),
    "resume_job_type": (lambda q: q.row("pause_job_type", job_type="t"), lambda q, _: q.row("resume_job_type", job_type="t"), "t", None),
    "set_runtime_config": (lambda q: None, lambda q, _: q.row("set_runtime_config", job_type="t", config={"x": SECRET}), "t", None),
    "cancel_job": (lambda q: q.enqueue(), lambda q, x: q.row("cancel_job", job_id=x, reason="r"), ..., "r"),
    "cancel_workflow": (waiting_run, lambda q, x: q.row("cancel_workflow", workflow_run_id=x, reason="r"), ..., "r"),
    "requeue_job": (lambda q: q.dead(), lambda q, x: q.row("requeue_job", job_id=x, reason="r"), ..., "r"),
    "replay_job": (done, lambda q, x: q.row("replay_job", job_id=x, request_key=SECRET, reason="r"), ..., "r"),
    "redrive_dead_letters": (lambda q: [q.dead() for _ in range(3)], lambda q, _: q.rows("redrive_dead_letters", reason="r", job_type="t"), None, "r"),
    "correct_payload": (lambda q: q.enqueue(), lambda q, x: q.row("correct_payload", job_id=x, payload={"x": SECRET}, reason="r"), ..., "r"),
    "redact_job": (lambda q: done(q, payload={"x": SECRET}), lambda q, x: q.row("redact_job", job_id=x, reason="r"), ..., "r"),
    "job_payload": (lambda q: q.enqueue(payload={"x": SECRET}), lambda q, x: q.row("job_payload", job_id=x), ..., None),
    "job_log_payloads": (done, lambda q, x: q.rows("job_log_payloads", job_id=x, log_ids=[1]), ..., None),
    "get_workflow_step": (waiting_run, lambda q, x: q.row("get_workflow_step", workflow_run_id=x, step_key="g"), ..., None),
    "upsert_schedule": (lambda q: None, lambda q, _: scheduled(q), "s", None),
    "pause_schedule": (scheduled, lambda q, _: q.row("pause_schedule", name="s", reason="r"), "s", "r"),
    "resume_schedule": (lambda q: (scheduled(q), q.row("pause_schedule", name="s")), lambda q, _: q.row("resume_schedule", name="s"), "s", None),
    "delete_schedule": (scheduled, lambda q, _: q.row("delete_schedule", name="s"), "s", None),
    "complete_external_step": (waiting_run, lambda q, x: q.row("complete_external_step", workflow_run_id=x, step_key="g", reason="r", output={"x": SECRET}), ..., "r"),
}  # fmt: skip
# Recorded too, and tested with the functions themselves.
ELSEWHERE = {"grant_access", "revoke_access", "sync_catalog", "prune", "set_retention"}


@pytest.mark.parametrize("action", ACTS)
def test_an_act_leaves_one_row(db: Db, acting: Acting, q: Ledger, action: str):
    first, act, named, reason = ACTS[action]
    operator = acting("operator")
    given = first(q)
    before = db.value("select coalesce(max(id), 0) from runledger.operator_actions")
    act(operator, given)
    rows = db.all("select * from runledger.operator_actions where id > %s", [before])
    assert len(rows) == 1, rows
    row = rows[0]
    assert (row["role_name"], row["action"], row["reason"]) == (operator.role, action, reason)
    assert row["object"] == (str(given) if named is ... else named)
    assert SECRET not in json.dumps(row, default=str)


@pytest.mark.parametrize("action", ["define_job", "enable_job_type", "disable_job_type", "pause_job_type", "resume_job_type",
                                    "set_runtime_config", "cancel_job", "cancel_workflow", "correct_payload", "redact_job",
                                    "upsert_schedule", "pause_schedule", "resume_schedule", "replay_job",
                                    "redrive_dead_letters", "complete_external_step"])  # fmt: skip
def test_the_same_again_changes_nothing_and_leaves_no_row(db: Db, acting: Acting, q: Ledger, action: str):
    first, act, *_ = ACTS[action]
    operator, given = acting("operator"), first(q)
    act(operator, given)
    before = db.value("select count(*) from runledger.operator_actions")
    act(operator, given)
    assert db.value("select count(*) from runledger.operator_actions") == before


def test_an_act_that_is_taken_back_leaves_no_row(db: Db, acting: Acting, q: Ledger):
    operator, job_id = acting("operator"), q.enqueue()
    with operator.conn.transaction(force_rollback=True):
        operator.row("cancel_job", job_id=job_id)
    with operator.refused("job.not_found"):
        operator.row("cancel_job", job_id=NOBODY)
    assert db.column("select action from runledger.operator_actions where object = %s", [str(job_id)]) == []


def test_what_changed_is_told_without_bodies(db: Db, q: Ledger):
    q.define("t", max_attempts=3, retry_delays_ms={"e.x": 5})
    scheduled(q)
    scheduled(q, cron="30 * * * *", payload={"y": SECRET})
    details = dict(db.conn.execute("select action, detail from runledger.operator_actions order by id").fetchall())
    assert details["define_job"] == {"max_attempts": 3, "retry_delays_ms": {"e.x": 5}}
    assert details["upsert_schedule"].pop("next_fire_at")
    assert details["upsert_schedule"].pop("next_base_at")
    assert details["upsert_schedule"] == {"cron_expr": "30 * * * *"}


def test_a_new_type_is_an_act_even_with_nothing_but_defaults(db: Db, q: Ledger):
    q.define("plain")
    q.define("plain")
    q.define("plain", if_missing=True)
    rows = db.all("select action, detail from runledger.operator_actions where object = 'plain'")
    assert rows == [{"action": "define_job", "detail": {}}]


def test_a_bulk_redrive_is_one_row_with_counts(db: Db, q: Ledger):
    for _ in range(3):
        q.dead()
    q.rows("redrive_dead_letters", reason="r", job_type="t", error_code="e.x", max_jobs=2)
    row = db.one("select * from runledger.operator_actions where action = 'redrive_dead_letters'")
    assert (row["object"], row["detail"]) == (None, {"jobs": 2, "job_type": "t", "error_code": "e.x"})


def test_gates_that_a_producer_or_the_owner_completes_are_ordinary_work(db: Db, acting: Acting, q: Ledger):
    producer = acting("producer")
    for ledger in (producer, q):
        ledger.row("complete_external_step", workflow_run_id=waiting_run(ledger), step_key="g")
    assert db.column("select id from runledger.operator_actions where action = 'complete_external_step'") == []


def test_bodies_are_not_read_without_a_trace(acting: Acting, q: Ledger):
    """A read-only transaction is no way round; one that is rolled back is: what was read is known, the row is not."""
    operator, job_id = acting("operator"), q.enqueue(payload={"x": SECRET})
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), operator.conn.transaction():
        operator.conn.execute("set transaction read only")
        operator.row("job_payload", job_id=job_id)
    assert operator.row("job_payload", job_id=job_id)["payload"] == {"x": SECRET}
    assert [r["role_name"] for r in q.rows("list_operator_actions", action="job_payload")] == [operator.role]


def test_get_job_shows_no_bodies_but_to_the_owner(acting: Acting, q: Ledger):
    lease = q.leased(payload={"x": SECRET}, idempotency_key=SECRET)
    q.succeed(lease, output={"x": SECRET}, checkpoint={"x": SECRET})
    run = q.row("enqueue_workflow", workflow_type="w", steps=[{"key": "g", "external": True}], metadata={"x": SECRET},
                active_key=SECRET, idempotency_key=SECRET)["workflow_run_id"]  # fmt: skip
    for kind in ("operator", "observer"):
        looker = acting(kind)
        for found in (looker.row("get_job", job_id=lease["job_id"]), looker.row("get_workflow", workflow_run_id=run)):
            assert SECRET not in json.dumps(found, default=str)
    assert q.row("get_job", job_id=lease["job_id"])["payload"] == {"x": SECRET}
    assert q.row("get_workflow", workflow_run_id=run)["metadata"] == {"x": SECRET}


def test_every_act_is_tested_here():
    recorded = {
        name for f in functions() for name in (f.name,)
        if f.public and ("operator_actions" in f.text.split("create or replace", 1)[0]) and not f.name.startswith("list_")
    }  # fmt: skip
    assert recorded == ACTS.keys() | ELSEWHERE
