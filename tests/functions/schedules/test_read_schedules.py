"""get_schedule and list_schedules."""

from __future__ import annotations

from typing import Any

from tests.functions.schedules.conftest import Plan, stored
from tests.support.database import Db
from tests.support.flows import gate, step
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger


def names(q: Ledger, **arguments: Any) -> list[str]:
    return [r["name"] for r in q.rows("list_schedules", **arguments)]


def test_one_schedule_is_read_whole_and_nothing_changes(db: Db, plan: Plan, q: Ledger):
    plan("nightly", "0 3 * * *", payload={"a": 1}, organization_id=TENANT, max_jitter_seconds=5, missed="SKIP")
    q.row("pause_schedule", name="nightly", reason="deploy")
    before = stored(db, "nightly")
    row = q.row("get_schedule", name="nightly")
    given = {"schedule_id": "id", "payload": "payload_template", "steps": "workflow_steps"}
    assert row["state"] == "paused"
    assert row == {k: before[given.get(k, k)] for k in row if k != "state"} | {"state": "paused"}
    assert (row["payload"], row["is_active"], row["paused_reason"], row["timezone"]) == (
        {"a": 1},
        False,
        "deploy",
        "UTC",
    )
    assert q.row("get_schedule", name="nightly", organization_id=TENANT) == row
    assert stored(db, "nightly") == before
    for nothing in ({"name": "Nightly"}, {"name": None}, {"name": "nightly", "organization_id": OTHER_TENANT}):
        assert q.rows("get_schedule", **nothing) == []


def test_schedules_are_listed_by_name_and_filtered(db: Db, plan: Plan, q: Ledger):
    q.define("u")
    plan("b_1", organization_id=TENANT)
    plan("bx1", job_type="u")
    plan("a%", is_active=False)
    plan("flow", job_type=None, workflow_type="w", steps=[gate("g"), step("s", "g", job_type="u")])
    every = names(q)
    assert every == db.column("select name from runledger.job_schedules order by name")
    assert names(q, contains="_") == ["b_1"]
    assert names(q, contains="%") == ["a%"]
    assert set(names(q, contains="B")) == {"b_1", "bx1"}
    # Also those that start it as a step: what keeps a type from being disabled.
    assert set(names(q, job_type="u")) == {"bx1", "flow"}
    assert names(q, job_type="u", contains="x") == ["bx1"]
    assert names(q, is_active=False) == ["a%"]
    assert names(q, organization_id=TENANT) == ["b_1"]
    assert names(q, organization_id=OTHER_TENANT) == []
    assert names(q, max_rows=1) + names(q, after_name=every[0], max_rows=2) + names(q, after_name=every[2]) == every
    assert names(q, after_name="bx") == every[every.index("bx1") :]


def test_a_listed_schedule_carries_no_body(plan: Plan, q: Ledger):
    plan("s", payload="s3cret")
    [row] = q.rows("list_schedules")
    whole = q.row("get_schedule", name="s")
    assert row == {k: whole[k] for k in row}
    assert set(whole) - set(row) == {"payload", "steps"}
