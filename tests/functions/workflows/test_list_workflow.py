"""list_workflow_steps, list_workflow_edges, list_workflow_mutations, get_workflow_step, find_workflow, and lists of runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


@pytest.fixture
def run(start: Flows) -> Flow:
    """a → b, c → d (whatever became of c), and a gate behind d."""
    return start(
        step("a"), step("b", "a"), step("c", "a"), step("d", "b", always="c", payload={"x": 1}, priority=7),
        gate("g", "d", payload={"ask": "her"}, timeout_seconds=60, on_timeout="FAILED"), organization_id=TENANT,
    )  # fmt: skip


def edges(q: Ledger, flow: Flow, **arguments: Any) -> list[tuple[Any, ...]]:
    return [
        (r["prerequisite_key"], r["dependent_key"], r["release_mode"], r["prerequisite_status"])
        for r in q.rows("list_workflow_edges", workflow_run_id=flow.id, **arguments)
    ]


def test_steps_are_listed_prerequisites_first(db: Db, q: Ledger, run: Flow):
    run.succeed("a")
    rows = q.rows("list_workflow_steps", workflow_run_id=run.id)
    assert {r["step_key"]: r["status"] for r in rows} == run.states()
    place = {r["step_key"]: n for n, r in enumerate(rows)}
    assert place["a"] < min(place["b"], place["c"]) < max(place["b"], place["c"]) < place["d"] < place["g"]
    stored = db.all(
        "select s.*, s.execution_kind::text as execution_kind, s.status::text as status from runledger.workflow_steps as s"
        " where workflow_run_id = %s order by ordinal",
        [run.id],
    )
    assert rows == [{k: s[k] for k in r} for r, s in zip(rows, stored, strict=True)]
    assert set(stored[0]) - set(rows[0]) == {"id", "payload", "output"}


def test_steps_are_paged_by_ordinal(q: Ledger, run: Flow):
    every = q.rows("list_workflow_steps", workflow_run_id=run.id)
    seen: list[dict[str, Any]] = []
    after = None
    while page := q.rows("list_workflow_steps", workflow_run_id=run.id, after_ordinal=after, max_rows=2):
        seen += page
        after = page[-1]["ordinal"]
    assert seen == every
    assert len(every) == 5
    for wrong in (NOBODY, None):
        assert q.rows("list_workflow_steps", workflow_run_id=wrong) == []


def test_one_step_is_read_with_its_bodies(q: Ledger, run: Flow):
    run.succeed("a")
    row = q.row("get_workflow_step", workflow_run_id=run.id, step_key="g")
    assert (row["payload"], row["output"], row["execution_kind"]) == ({"ask": "her"}, None, "EXTERNAL")
    done = q.row("get_workflow_step", workflow_run_id=run.id, step_key="a", organization_id=TENANT)
    assert (done["status"], done["output"]) == ("SUCCEEDED", {"of": "a"})
    [summary] = [r for r in q.rows("list_workflow_steps", workflow_run_id=run.id) if r["step_key"] == "g"]
    assert summary == {k: row[k] for k in summary}
    for nothing in (
        {"workflow_run_id": run.id, "step_key": "z"}, {"workflow_run_id": NOBODY, "step_key": "a"},
        {"workflow_run_id": run.id, "step_key": "a", "organization_id": OTHER_TENANT}, {"workflow_run_id": run.id, "step_key": None},
    ):  # fmt: skip
        assert q.rows("get_workflow_step", **nothing) == []


def test_edges_are_listed_by_dependent_then_prerequisite(q: Ledger, run: Flow):
    run.succeed("a", "b")
    run.fail("c")
    assert edges(q, run) == [
        ("a", "b", "ON_SUCCESS", "SUCCEEDED"), ("a", "c", "ON_SUCCESS", "SUCCEEDED"), ("b", "d", "ON_SUCCESS", "SUCCEEDED"),
        ("c", "d", "ON_TERMINAL", "FAILED"), ("d", "g", "ON_SUCCESS", "ENQUEUED"),
    ]  # fmt: skip
    assert {r["prerequisite_is_hidden"] for r in q.rows("list_workflow_edges", workflow_run_id=run.id)} == {False}


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_edges_are_paged_also_within_a_dependent(q: Ledger, start: Flows, size: int):
    flow = start(
        *(step(f"s{n}") for n in range(5)), step("end", [f"s{n}" for n in range(5)]), step("after", ["end", "s0"])
    )
    every = edges(q, flow)
    assert len(every) == 7
    seen: list[tuple[Any, ...]] = []
    place: dict[str, Any] = {}
    while page := q.rows("list_workflow_edges", workflow_run_id=flow.id, max_rows=size, **place):
        seen += [(r["prerequisite_key"], r["dependent_key"], r["release_mode"], r["prerequisite_status"]) for r in page]
        place = {
            "after_dependent": page[-1]["dependent_ordinal"],
            "after_prerequisite": page[-1]["prerequisite_ordinal"],
        }
    assert seen == every


@pytest.mark.parametrize("place", [{"after_dependent": 1}, {"after_prerequisite": 1}], ids=str)
def test_a_place_among_edges_is_whole(q: Ledger, run: Flow, place: dict[str, int]):
    with q.refused("job.invalid_cursor", "RL010"):
        q.rows("list_workflow_edges", workflow_run_id=run.id, **place)


def test_a_step_of_another_tenant_is_hidden_and_said_to_be(q: Ledger, start: Flows):
    flow = start(
        step("ours"), step("theirs", organization_id=str(OTHER_TENANT)), step("end", ["ours", "theirs"]),
        step("their_end", "end", organization_id=str(OTHER_TENANT)), organization_id=TENANT,
    )  # fmt: skip
    mine = {"workflow_run_id": flow.id, "organization_id": TENANT}
    assert {r["step_key"] for r in q.rows("list_workflow_steps", **mine)} == {"ours", "end"}
    assert q.rows("get_workflow_step", step_key="theirs", **mine) == []
    rows = {r["prerequisite_key"]: r for r in q.rows("list_workflow_edges", **mine)}
    assert {r["dependent_key"] for r in rows.values()} == {"end"}
    assert set(rows) == {"ours", None}
    assert (rows[None]["prerequisite_is_hidden"], rows[None]["prerequisite_status"]) == (True, None)
    assert rows["ours"]["prerequisite_is_hidden"] is False
    assert "their" not in str(list(rows.values()))
    # The run is not theirs, so nothing of it is told to them.
    theirs = {"workflow_run_id": flow.id, "organization_id": OTHER_TENANT}
    assert q.rows("list_workflow_steps", **theirs) == q.rows("list_workflow_edges", **theirs) == []
    assert len(q.rows("list_workflow_edges", workflow_run_id=flow.id)) == 3


def test_appends_are_listed_oldest_first_without_what_was_asked(q: Ledger, start: Flows, clock: Clock):
    flow = start(gate("g"), organization_id=TENANT)
    for key in ("z", "m", "a", "b"):
        flow.append(step(f"{key}1"), step(f"{key}2", payload="s3cret"), key=key, metadata={"s3cret": 1})
        clock.advance(1 if key != "a" else 0)
    rows = q.rows("list_workflow_mutations", workflow_run_id=flow.id)
    assert [(r["mutation_key"], r["append_window"], r["steps"], r["step_keys"]) for r in rows] == [
        (k, "g", 2, [f"{k}1", f"{k}2"]) for k in ("z", "m", "a", "b")
    ]
    assert "s3cret" not in str(rows)
    seen: list[dict[str, Any]] = []
    place: dict[str, Any] = {}
    while page := q.rows("list_workflow_mutations", workflow_run_id=flow.id, max_rows=1, **place):
        seen += page
        place = {"after_created_at": page[0]["created_at"], "after_key": page[0]["mutation_key"]}
    assert seen == rows
    assert q.rows("list_workflow_mutations", workflow_run_id=flow.id, organization_id=TENANT) == rows
    assert q.rows("list_workflow_mutations", workflow_run_id=flow.id, organization_id=OTHER_TENANT) == []
    for place in ({"after_key": "a"}, {"after_created_at": rows[0]["created_at"]}):
        with q.refused("job.invalid_cursor", "RL010"):
            q.rows("list_workflow_mutations", workflow_run_id=flow.id, **place)


def test_a_key_finds_its_run_in_its_very_scope(q: Ledger, start: Flows):
    """As at enqueue: without a tenant the run of none is meant, and not that of any."""
    flow = {t: start(step("a"), organization_id=t, idempotency_key="k") for t in (None, TENANT, OTHER_TENANT)}
    only = start(step("a"), workflow_type="v", organization_id=TENANT, idempotency_key="k")
    for tenant, one in flow.items():
        row = q.row("find_workflow", workflow_type="w", idempotency_key="k", organization_id=tenant)
        assert row == next(r for r in q.rows("list_workflows") if r["workflow_run_id"] == one.id)
    found = q.row("find_workflow", workflow_type="v", idempotency_key="k", organization_id=TENANT)
    assert found["workflow_run_id"] == only.id
    assert q.rows("find_workflow", workflow_type="v", idempotency_key="k") == []
    assert q.rows("find_workflow", workflow_type="w", idempotency_key=None) == []


def test_runs_are_found_by_the_letters_of_their_type(q: Ledger, start: Flows):
    flows = {t: start(step("a"), workflow_type=t, organization_id=TENANT) for t in ("Order.ship", "order_ship", "100%")}

    def found(**more: Any) -> set[str]:
        rows = q.rows("list_workflows", **more)
        assert {r["workflow_run_id"] for r in rows} == {flows[r["workflow_type"]].id for r in rows}
        return {r["workflow_type"] for r in rows}

    assert found(contains="ORDER") == {"Order.ship", "order_ship"}
    assert found(contains="_") == found(contains="_", organization_id=TENANT) == {"order_ship"}
    assert found(contains="%") == {"100%"}
    assert found(contains="%", organization_id=OTHER_TENANT) == set()


def test_live_runs_are_listed_from_the_oldest_until_they_finish(q: Ledger, start: Flows):
    flows = [start(step("a"), organization_id=TENANT if n % 2 else None) for n in range(6)]
    ids = [f.id for f in flows]
    first = q.row("list_live_workflows", max_rows=1)
    assert first == next(r for r in q.rows("list_workflows") if r["workflow_run_id"] == ids[0])
    assert [r["workflow_run_id"] for r in q.rows("list_live_workflows", after_id=ids[1], max_rows=2)] == ids[2:4]
    assert [r["workflow_run_id"] for r in q.rows("list_live_workflows", organization_id=TENANT)] == ids[1::2]
    assert len(q.rows("list_live_workflows", contains=first["workflow_type"].upper())) == 6
    assert q.rows("list_live_workflows", contains="%") == []
    flows[0].cancel()
    assert [r["workflow_run_id"] for r in q.rows("list_live_workflows")] == ids[1:]


def test_runs_are_listed_by_their_status(q: Ledger, start: Flows):
    flows = {
        "RUNNING": start(step("a")), "WAITING_FOR_EXTERNAL": start(gate("g")), "SUCCEEDED": start(gate("g")),
        "COMPLETED_WITH_ERRORS": start(gate("g")), "CANCELED": start(step("a")),
    }  # fmt: skip
    flows["SUCCEEDED"].complete("g")
    flows["COMPLETED_WITH_ERRORS"].complete("g", "FAILED")
    flows["CANCELED"].cancel()
    for status, flow in flows.items():
        [row] = q.rows("list_workflows", status=status)
        assert (row["workflow_run_id"], row["status"]) == (flow.id, status)


def test_lists_of_runs_filter_page_and_outlive_their_place(db: Db, q: Ledger, start: Flows):
    flows = [start(step("a"), organization_id=TENANT if n % 2 else None) for n in range(6)]
    ids = [f.id for f in flows][::-1]
    assert [r["workflow_run_id"] for r in q.rows("list_workflows")] == ids
    assert [r["workflow_run_id"] for r in q.rows("list_workflows", organization_id=TENANT)] == ids[::2]
    flows[0].cancel()
    assert [r["workflow_run_id"] for r in q.rows("list_workflows", status="CANCELED")] == ids[-1:]
    assert q.rows("list_workflows", status="CANCELED", organization_id=TENANT) == []
    gone = flows[3]
    for job in gone.jobs():
        db.execute("delete from runledger.job_events where job_id = %s", [job["id"]])
        db.execute("delete from runledger.job_queue where id = %s", [job["id"]])
    db.execute("delete from runledger.workflow_runs where id = %s", [gone.id])
    for tenant in (None, TENANT):
        page = q.rows("list_workflows", before_id=gone.id, organization_id=tenant)
        assert [r["workflow_run_id"] for r in page] == (ids[3:] if tenant is None else ids[4::2])
