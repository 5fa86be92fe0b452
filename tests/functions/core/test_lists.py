"""What holds for every list_* function: bounded pages, no JSON bodies, nothing of another tenant, nothing written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger

SECRET = "s3cret"
# Lists over objects that belong to no tenant.
TENANTLESS = {
    "list_job_definitions", "list_operator_actions", "list_queues", "list_runtime_configs", "list_workers",
}  # fmt: skip
# JSON that Runledger wrote itself or an operator set, no body: a function, and the column.
NO_BODY = {
    ("list_job_definitions", "retry_delays_ms"), ("list_job_events", "detail"), ("list_operator_actions", "detail"),
}  # fmt: skip


@dataclass(frozen=True)
class Scene:
    """Something of each kind, alike for two tenants and for none."""

    jobs: dict[Any, Any]
    runs: dict[Any, Flow]


# What else a list asks for, from the object of a tenant.
OF: dict[str, Callable[[Scene, Any], dict[str, Any]]] = {
    "list_job_attempts": lambda s, tenant: {"job_id": s.jobs[tenant]},
    "list_job_events": lambda s, tenant: {"job_id": s.jobs[tenant]},
    "list_job_logs": lambda s, tenant: {"job_id": s.jobs[tenant]},
    "list_workflow_edges": lambda s, tenant: {"workflow_run_id": s.runs[tenant].id},
    "list_workflow_mutations": lambda s, tenant: {"workflow_run_id": s.runs[tenant].id},
    "list_workflow_steps": lambda s, tenant: {"workflow_run_id": s.runs[tenant].id},
}

# What else a list asks for, the same for every tenant.
ALSO: dict[str, dict[str, Any]] = {"list_waiting_jobs": {"job_type": "v"}}


@pytest.fixture
def lists(db: Db) -> dict[str, list[str]]:
    """Every list_* function and its parameters."""
    rows = db.all(
        "select proname as name, proargnames[1:pronargs] as arguments from pg_proc"
        " where pronamespace = 'runledger'::regnamespace and proname ~ '^list_' order by 1"
    )
    return {r["name"]: r["arguments"] for r in rows}


@pytest.fixture
def scene(db: Db, q: Ledger, stranger: str) -> Scene:
    q.row("grant_access", role_name=stranger, kind="observer")
    q.define("u", retry_delays_ms={"e.x": 1})
    q.define("v")
    q.row("set_runtime_config", job_type="t", config={SECRET: SECRET})
    q.row("register_worker", worker_id="w1", job_types=["t"], metadata={SECRET: SECRET})
    jobs, runs = {}, {}
    for nth, tenant in enumerate((TENANT, OTHER_TENANT, None)):
        of = {"organization_id": tenant, "payload": SECRET, "idempotency_key": SECRET}
        lease = q.leased("u", **of)
        q.row("report_progress", **lease, checkpoint=SECRET)
        q.row("log_job", **lease, level="info", message="said", payload=SECRET)
        q.fail(lease, kind="TERMINAL")
        jobs[tenant] = lease["job_id"]
        q.leased("u", **{**of, "idempotency_key": SECRET * 2})
        q.enqueue("v", **of)
        runs[tenant] = Flows(q)(
            gate("g", payload=SECRET), step("a", "g", payload=SECRET),
            organization_id=tenant, metadata={SECRET: SECRET}, idempotency_key=SECRET,
        )  # fmt: skip
        runs[tenant].append(step("b", payload=SECRET), key=f"append {nth}")
        q.row("upsert_schedule", name=f"s{nth}", job_type="u", cron="@yearly", payload=SECRET, organization_id=tenant)
    return Scene(jobs, runs)


def read(q: Ledger, name: str, scene: Scene, tenant: Any, **more: Any) -> list[dict[str, Any]]:
    return q.rows(name, **OF.get(name, lambda s, t: {})(scene, tenant), **ALSO.get(name, {}), **more)


def test_every_list_is_paged_and_has_a_tenant(lists: dict[str, list[str]]):
    assert len(lists) >= 12
    for name, parameters in lists.items():
        assert "max_rows" in parameters, name
        assert any(re.match("after_|before_", p) for p in parameters), name
        assert ("organization_id" in parameters) == (name not in TENANTLESS), name


def test_no_list_has_a_json_body_or_a_key(db: Db, q: Ledger, lists: dict[str, list[str]], scene: Scene):
    found = db.all("""
        select p.proname as name, a.attname as attribute from pg_proc p
          join pg_type t on t.oid = p.prorettype join pg_attribute a on a.attrelid = t.typrelid
         where p.pronamespace = 'runledger'::regnamespace and p.proname ~ '^list_'
           and a.atttypid in ('jsonb'::regtype, 'json'::regtype)""")
    assert {(r["name"], r["attribute"]) for r in found} == NO_BODY
    for name in lists:
        rows = read(q, name, scene, TENANT)
        assert rows, f"{name}: the scene has none"
        assert SECRET not in str(rows), name


def test_no_list_tells_a_tenant_of_another(q: Ledger, lists: dict[str, list[str]], scene: Scene):
    for name in lists.keys() - TENANTLESS:
        own = read(q, name, scene, TENANT, organization_id=TENANT)
        assert own, name
        assert {r.get("organization_id", TENANT) for r in own} == {TENANT}, name
        if name in OF:
            # Asked for an object of another tenant, or of none: as if it were not there.
            assert read(q, name, scene, OTHER_TENANT, organization_id=TENANT) == [], name
            assert read(q, name, scene, None, organization_id=TENANT) == [], name
            assert read(q, name, scene, OTHER_TENANT) != [], name
        else:
            everything = read(q, name, scene, None)
            assert {r["organization_id"] for r in everything} == {TENANT, OTHER_TENANT, None}, name


def test_every_list_refuses_pages_out_of_range(q: Ledger, lists: dict[str, list[str]], scene: Scene):
    for name in lists:
        assert len(read(q, name, scene, TENANT, max_rows=1)) == 1, name
        read(q, name, scene, TENANT, max_rows=1000)
        for rows in (None, 0, -1, 1001):
            with q.refused("job.invalid_pagination", "RL010"):
                read(q, name, scene, TENANT, max_rows=rows)


def test_every_read_runs_where_nothing_may_be_written(db: Db, q: Ledger, lists: dict[str, list[str]], scene: Scene):
    """On a standby, that is; and a function that says it writes nothing is not volatile (tests/catalog).

    Not job_payload, job_log_payloads and get_workflow_step: that somebody read bodies is written down.
    """
    job, run = scene.jobs[TENANT], scene.runs[TENANT].id
    reads: dict[str, dict[str, Any]] = {
        "get_job": {"job_id": job}, "find_job": {"job_type": "u", "idempotency_key": SECRET},
        "job_statuses": {"job_ids": [job]},
        "get_job_definition": {"job_type": "u"}, "runtime_config": {"job_type": "t"}, "get_runtime_config": {"job_type": "t"},
        "get_workflow": {"workflow_run_id": run}, "find_workflow": {"workflow_type": "w", "idempotency_key": SECRET},
        "get_schedule": {"name": "s0"},
    }  # fmt: skip
    stable = db.column(
        "select proname from pg_proc where pronamespace = 'runledger'::regnamespace and provolatile = 's'"
    )
    assert {*reads, *lists} <= set(stable)
    with q.unchanged(), q.conn.transaction():
        q.conn.execute("set transaction read only")
        for name, arguments in reads.items():
            assert q.rows(name, **arguments), name
        for name in lists:
            assert read(q, name, scene, TENANT), name
