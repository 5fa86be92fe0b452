"""error_codes(): every code is told by somebody, and nobody tells another. Codes of workflows are with their tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, Ledger, Raw
from tests.support.servers import ROOT
from tests.support.written import stands_written

Provoke = Callable[[Ledger], object]
HOUR = "1 hour"

# Codes that leave a function as an error: the call that provokes each. `x` is a lease on a job; `dead`, `done` and
# `canceled` are jobs in those states, `step` a lease on a job of a workflow; `bound` calls as a role held to a type.
RAISED: dict[str, Callable[[Ledger, dict[str, Any]], object]] = {
    "job.not_found": lambda q, s: q.row("cancel_job", job_id=NOBODY),
    "job.definition_not_found": lambda q, s: q.row("pause_job_type", job_type="nobody"),
    "job.runtime_config_not_found": lambda q, s: q.row("runtime_config", job_type="t"),
    "worker.not_found": lambda q, s: q.row("idle_worker", worker_id="nobody"),
    "job.definition_not_found_or_disabled": lambda q, s: q.enqueue("nobody"),
    "job.lease_owner_mismatch": lambda q, s: q.succeed({**s["x"], "lease_token": 0}),
    "job.canceled": lambda q, s: q.succeed(s["canceled"]),
    "job.invalid_state_transition": lambda q, s: q.row("cancel_job", job_id=s["done"]),
    "job.workflow_requeue_not_supported": lambda q, s: q.row("requeue_job", job_id=s["step"]["job_id"]),
    "job.workflow_handler_continuation_not_enabled": lambda q, s: q.row("continue_job", **s["step"]),
    "job.invalid_job_type": lambda q, s: q.define(" "),
    "job.invalid_worker_id": lambda q, s: q.claim(worker=""),
    "job.invalid_limit": lambda q, s: q.claim(0),
    "job.invalid_lease_duration": lambda q, s: q.claim(lease_seconds=0),
    "job.invalid_max_attempts": lambda q, s: q.enqueue(max_attempts=0),
    "job.invalid_timeout": lambda q, s: q.enqueue(timeout_seconds=0),
    "job.invalid_run_at": lambda q, s: q.enqueue(run_at="infinity"),
    "job.invalid_idempotency_key": lambda q, s: q.enqueue(idempotency_key=""),
    "job.invalid_stage": lambda q, s: q.enqueue(stage=""),
    "job.invalid_tokens": lambda q, s: q.rows("start_jobs", job_ids=[NOBODY], lease_tokens=[]),
    "job.invalid_progress": lambda q, s: q.row("report_progress", **s["x"], done=-1),
    "job.invalid_completion_progress": lambda q, s: q.succeed(s["x"], done=-1),
    "job.invalid_failure_kind": lambda q, s: q.fail(s["x"], kind="x"),
    "job.invalid_error_code": lambda q, s: q.fail(s["x"], code=""),
    "job.invalid_retry_timing": lambda q, s: q.fail(s["x"], not_before="infinity"),
    "job.invalid_retry_delay": lambda q, s: q.release(s["x"], delay="-1 s"),
    "job.invalid_continuation_delay": lambda q, s: q.row("continue_job", **s["x"], delay="-1 s"),
    "job.invalid_reason": lambda q, s: q.release(s["x"], reason=""),
    "job.invalid_log": lambda q, s: q.row("log_job", job_id=s["done"], level="", message="x"),
    "job.invalid_pagination": lambda q, s: q.rows("list_jobs", max_rows=0),
    "job.invalid_cursor": lambda q, s: q.rows("list_job_events", job_id=s["done"], after_event_id=1, before_event_id=9),
    "job.invalid_status": lambda q, s: q.rows("list_jobs", status="x"),
    "job.invalid_id": lambda q, s: q.succeed({**s["x"], "job_id": None}),
    "job.invalid_ids": lambda q, s: q.rows("job_statuses", job_ids=[None]),
    "job.invalid_batch": lambda q, s: q.rows("enqueue_jobs", jobs={}),
    "job.replay_request_key_blank": lambda q, s: q.row("replay_job", job_id=s["done"], request_key="", reason="r"),
    "job.replay_request_key_too_long": lambda q, s: q.row("replay_job", job_id=s["done"], request_key="k" * 513, reason="r"),
    "job.replay_reason_blank": lambda q, s: q.row("replay_job", job_id=s["done"], request_key="k", reason=""),
    "job_definition.invalid_version": lambda q, s: q.define(version=0),
    "job_definition.invalid_max_concurrency": lambda q, s: q.define(max_concurrency=-1),
    "job_definition.invalid_retry_policy": lambda q, s: q.define(retry_base_ms=0),
    "job_definition.invalid_config": lambda q, s: q.row("set_runtime_config", job_type="t", config=1),
    "worker.invalid_registration": lambda q, s: q.row("register_worker", worker_id="w", job_types=None),
    "worker.invalid_idle_time": lambda q, s: q.row("idle_worker", worker_id="w", until="infinity"),
    "operations.invalid_scope": lambda q, s: q.rows("fsck", scope="some"),
    "operations.invalid_retention": lambda q, s: q.rows("prune", older_than="-1 day"),
    "job_schedule.not_found": lambda q, s: q.row("delete_schedule", name="nobody"),
    "job_schedule.definition_not_found_or_disabled": lambda q, s: schedule(q, job_type="nobody"),
    "job_definition.active_schedule_exists": lambda q, s: q.row("disable_job_type", job_type="scheduled"),
    "job_schedule.invalid_name": lambda q, s: schedule(q, name=" "),
    "job_schedule.invalid_target": lambda q, s: schedule(q, job_type=None),
    "job_schedule.invalid_jitter": lambda q, s: schedule(q, max_jitter_seconds=-1),
    "job_schedule.invalid_missed": lambda q, s: schedule(q, missed="x"),
    "job_schedule.invalid_cron": lambda q, s: q.row("next_fire_at", cron="x"),
    "job_schedule.cron_never_fires": lambda q, s: q.row("next_fire_at", cron="0 0 30 2 *"),
    "job_schedule.invalid_timezone": lambda q, s: q.row("next_fire_at", cron="@daily", timezone="x"),
    "job_schedule.invalid_instant": lambda q, s: q.row("next_fire_at", cron="@daily", after="infinity"),
    "catalog.invalid_name": lambda q, s: catalog(q, catalog=" "),
    "catalog.too_large": lambda q, s: catalog(q, definitions=[{}] * 1001),
    "catalog.duplicate_name": lambda q, s: catalog(q, definitions=[{"job_type": "t"}] * 2),
    "catalog.empty": lambda q, s: catalog(q, catalog="new", definitions=[], schedules=[]),
    "access.role_not_found": lambda q, s: q.row("grant_access", role_name="no_such_role", kind="worker"),
    "access.invalid_kind": lambda q, s: q.row("grant_access", role_name="no_such_role", kind="admin"),
    "access.invalid_job_types": lambda q, s: q.row("grant_access", role_name="x", kind="observer", job_types=["t"]),
    "access.role_refused": lambda q, s: q.row("grant_access", role_name="public", kind="worker"),
    "access.job_type_not_granted": lambda q, s: s["bound"].enqueue(),
    "worker.name_taken": lambda q, s: s["bound"].row("register_worker", worker_id="w", job_types=["other"]),
    "json.too_large": lambda q, s: q.enqueue(payload="x" * 262_144),
    "json.too_deep": lambda q, s: q.enqueue(payload=Raw("[" * 300 + "]" * 300)),
    "json.number_out_of_range": lambda q, s: q.enqueue(payload=Raw("1e999")),
    "job.idempotency_unsupported_isolation": lambda q, s: above(q, lambda: q.enqueue(idempotency_key="new")),
    "job.claim_unsupported_isolation": lambda q, s: above(q, q.claim),
    "job.requeue_unsupported_isolation": lambda q, s: above(q, lambda: q.row("requeue_job", job_id=s["dead"])),
    "job.replay_unsupported_isolation": lambda q, s: above(q, lambda: q.row("replay_job", job_id=s["done"], request_key="k", reason="r")),
    "catalog.unsupported_isolation": lambda q, s: above(q, lambda: catalog(q)),
    "operations.unsupported_isolation": lambda q, s: above(q, q.reap),
    "job.idempotency_conflict": lambda q, s: q.enqueue(idempotency_key="k", priority=1),
    "job.replay_idempotency_conflict": lambda q, s: q.row("replay_job", job_id=s["done"], request_key="used", reason="other"),
    "job.requeue_expectation_mismatch": lambda q, s: q.row("requeue_job", job_id=s["dead"], expected_run_number=7),
    "job.cancellation_not_quiesced": lambda q, s: q.row("requeue_job", job_id=s["canceled"]["job_id"]),
    "internal.unknown_error_code": lambda q, s: q.row("_raise", code="no.such_code"),
}  # fmt: skip

# Codes that only stand in a row of a batch.
REPORTED: dict[str, Callable[[Ledger, dict[str, Any]], list[dict[str, Any]]]] = {
    "job.invalid_item": lambda q, s: q.rows("enqueue_jobs", jobs=[1]),
    "job.unknown_field": lambda q, s: q.rows("enqueue_jobs", jobs=[{"job_type": "t", "x": 1}]),
    "job.invalid_priority": lambda q, s: q.rows("enqueue_jobs", jobs=[{"job_type": "t", "priority": "x"}]),
    "job.invalid_organization_id": lambda q, s: q.rows("enqueue_jobs", jobs=[{"job_type": "t", "organization_id": "x"}]),
    "job.invalid_outcome": lambda q, s: q.finish({**s["x"], "outcome": "x"}),
    "job_definition.owned_by_another_catalog": lambda q, s: catalog(q, catalog="other"),
    "job_schedule.owned_by_another_catalog": lambda q, s: catalog(q, catalog="other"),
    "job.duplicate_item": lambda q, s: q.finish({**s["x"], "outcome": "x"}, {**s["x"], "outcome": "SUCCEEDED"}),
}  # fmt: skip

# Codes that no call can provoke by itself: tests/concurrency/test_probes.py stops it between two statements.
UNPROVOKED = {
    "catalog.changed_meanwhile": "a listed schedule is deleted between two statements of a sync, ten times",
    "job_schedule.upsert_conflict_missing_existing": "a schedule comes and goes between insert and look, ten times",
    "job.idempotency_conflict_missing_existing": "the job with the key is pruned between the insert and the look",
}


def above(q: Ledger, call: Callable[[], object]) -> None:
    with q.conn.transaction():
        q.conn.execute("set transaction isolation level repeatable read")
        call()


def schedule(q: Ledger, **given: Any) -> dict[str, Any]:
    return q.row("upsert_schedule", **{"name": "s", "job_type": "t", "cron": "@yearly", **given})


def catalog(q: Ledger, **given: Any) -> list[dict[str, Any]]:
    own = {"definitions": [{"job_type": "own"}], "schedules": [{"name": "own", "job_type": "own", "cron": "@yearly"}]}
    return q.rows("sync_catalog", **{"catalog": "one", **own, **given})


def scene(db: Db, q: Ledger, role: str) -> dict[str, Any]:
    for kind in ("producer", "worker"):
        q.row("grant_access", role_name=role, kind=kind, job_types=["other"])
    done = q.leased(max_attempts=1)
    q.succeed(done)
    q.row("replay_job", job_id=done["job_id"], request_key="used", reason="first")
    q.claim(10)
    canceled, step, dead = q.leased(), q.leased(), q.dead()
    q.row("cancel_job", job_id=canceled["job_id"])
    db.execute("update runledger.job_queue set workflow_run_id = runledger._uuidv7() where id = %s", [step["job_id"]])
    q.enqueue(idempotency_key="k", priority=-1)
    q.row("register_worker", worker_id="w", job_types=["t"])
    q.define("scheduled")
    schedule(q, job_type="scheduled")
    catalog(q)
    lease = q.leased()
    bound = Ledger(db, db.connect(login=role))
    return {"x": lease, "done": done["job_id"], "dead": dead, "canceled": canceled, "step": step, "bound": bound}


def readable(refusal: Any, states: dict[str, Any]) -> str:
    """A code and what it tells beside it, ids by the names that the scene gives them; instants are only there."""
    ids = {str(v["job_id"] if isinstance(v, dict) else v): k for k, v in states.items()}

    def word(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value
        if text in ids:
            return ids[text]
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
            return "another id"
        return "an instant" if re.match(r"\d{4}-\d\d-\d\dT", text) else text

    detail = ", ".join(f"{k} {word(v)}" for k, v in sorted(refusal.detail.items()) if k != "code")
    return f"{refusal.code}: {detail}".removesuffix(" ")


def test_every_code_is_provoked(db: Db, q: Ledger, new_role: Callable[..., str]):
    known = db.column("select code from runledger.error_codes() where code !~ '^workflow'")
    stated = [*RAISED, *REPORTED, *UNPROVOKED]
    assert sorted(known) == sorted(set(stated))
    assert len(stated) == len(set(stated))
    states = scene(db, q, new_role())
    internal = Ledger(db, db.connect(admin=True))
    with q.unchanged():
        told = []
        for code, provoke in RAISED.items():
            with q.refused(code) as refusal:
                provoke(internal if code.startswith("internal") else q, states)
            told.append(readable(refusal, states))
        for code, report in REPORTED.items():
            assert code in [r["code"] for r in report(q, states)]
    db.execute("update runledger.job_queue set workflow_run_id = null")
    stands_written(Path(__file__).parent / "details.out", "\n".join([*told, ""]))


def test_only_listed_codes_stand_in_the_functions(db: Db):
    known = set(db.column("select code from runledger.error_codes() where code !~ '^workflow'"))
    used: set[str] = set()
    for path in (ROOT / "sql/functions").rglob("*.sql"):
        # Codes of why() and health() are no errors: they have lists of their own.
        if path.name != "error_codes.sql" and not path.name.startswith(("_why", "_health")):
            used |= set(
                re.findall(
                    r"'((?:access|job|job_definition|job_schedule|catalog|worker|operations|json|internal)\.[a-z_]+)'",
                    path.read_text(),
                )
            )
    # Codes of failures, which a job carries and nobody raises.
    carried = {"job.lease_expired", "job.released_too_often"}
    assert used - known <= carried
    assert known <= used


def test_codes_are_documented_and_classed(db: Db):
    rows = db.all("select * from runledger.error_codes()")
    assert len({r["code"] for r in rows}) == len(rows)
    classes = {
        "RL001",
        "RL002",
        "RL003",
        "RL004",
        "RL005",
        "RL010",
        "RL011",
        "RL013",
        "RL020",
        "RL021",
        "RL030",
        "RL090",
    }
    assert {r["sqlstate"] for r in rows} <= classes
    for row in rows:
        assert re.fullmatch(r"[a-z_]+\.[a-z_]+", row["code"])
        assert row["message"][0].islower()
        assert "%" not in row["message"]
        assert row["hint"].endswith(".")


def test_an_error_is_one_line_of_constant_text(q: Ledger, clock: Clock):
    with q.refused("job.definition_not_found_or_disabled") as told:
        q.enqueue("x" * 5000)
    assert len(told.detail["job_type"]) == 200
