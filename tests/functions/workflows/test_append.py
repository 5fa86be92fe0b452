"""append_workflow_steps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(r["step_key"], r["status"], r["disposition"]) for r in rows]


def test_only_what_is_ready_goes_and_the_unsatisfied_are_born_canceled(start: Flows):
    flow = start(gate("g"), step("good"), step("bad"), step("open"))
    flow.succeed("good")
    flow.fail("bad")
    rows = flow.append(
        step("late", ["x", "open"]), step("x", "good"), step("none"), step("dead", "bad"), step("heir", "dead"),
        step("clean", always=["dead", "heir"]), gate("h", "good"), gate("i", "x"), step("mixed", "open", always="bad"),
        step("doomed", ["bad", "open"]),
    )  # fmt: skip
    assert told(rows) == [
        ("late", "BLOCKED", "APPENDED"), ("x", "ENQUEUED", "APPENDED"), ("none", "ENQUEUED", "APPENDED"),
        ("dead", "CANCELED", "APPENDED"), ("heir", "CANCELED", "APPENDED"), ("clean", "ENQUEUED", "APPENDED"),
        ("h", "WAITING_FOR_EXTERNAL", "APPENDED"), ("i", "BLOCKED", "APPENDED"), ("mixed", "BLOCKED", "APPENDED"),
        ("doomed", "BLOCKED", "APPENDED"),
    ]  # fmt: skip
    assert [flow.counters(k) for k in ("late", "x", "dead", "heir", "clean", "mixed", "doomed")] == [
        (2, 2, 0), (1, 0, 0), (1, 0, 1), (1, 0, 1), (2, 0, 0), (2, 1, 0), (2, 1, 1),
    ]  # fmt: skip
    run = flow.run
    assert (
        run["steps_total"],
        run["steps_active"],
        run["steps_waiting"],
        run["steps_failed"],
        run["steps_succeeded"],
    ) == (14, 8, 2, 3, 1)
    flow.succeed("open", "x", "none", "clean", "mixed", "late")
    assert flow.states()["doomed"] == "CANCELED"
    for key in "ghi":
        flow.complete(key)
    assert flow.status == "COMPLETED_WITH_ERRORS"


def test_edges_keep_direction_mode_and_order(start: Flows, q: Ledger):
    flow = start(gate("g"), step("a"))
    flow.append(step("c", ["b", "a"]), step("b", always=["a", "g"]))
    edges = q.db.all(
        """select p.step_key as source, d.step_key as target, e.release_mode::text as mode, p.ordinal < d.ordinal as rises
             from runledger.workflow_step_dependencies as e
             join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
             join runledger.workflow_steps as d on d.id = e.dependent_step_id
            where e.workflow_run_id = %s order by 1, 2""", [flow.id],
    )  # fmt: skip
    assert [tuple(e.values()) for e in edges] == [
        ("a", "b", "ON_TERMINAL", True), ("a", "c", "ON_SUCCESS", True), ("b", "c", "ON_SUCCESS", True),
        ("g", "b", "ON_TERMINAL", True),
    ]  # fmt: skip


def test_settings_and_tenant_come_as_in_an_enqueue(start: Flows, q: Ledger):
    q.define("u", priority=3, max_attempts=4, timeout_seconds=5)
    flow = start(gate("g"), organization_id=TENANT)
    flow.append(
        step("a", job_type="u", payload={"n": 1}),
        step("b", job_type="u", priority=9, organization_id=str(OTHER_TENANT), stage="s"),
    )
    a, b = (q.job(flow.job_id(k)) for k in "ab")
    assert [(j["priority"], j["max_attempts"], j["timeout_seconds"], j["organization_id"], j["stage"], j["payload"]) for j in (a, b)] == [
        (3, 4, 5, TENANT, "queued", {"n": 1}), (9, 4, 5, OTHER_TENANT, "s", {}),
    ]  # fmt: skip


def test_the_mutation_is_kept(start: Flows, q: Ledger):
    flow = start(gate("g"))
    flow.append(step("b"), step("a", "b"), key="m1", metadata={"by": "planner"})
    row = q.db.one("select * from runledger.workflow_run_mutations where workflow_run_id = %s", [flow.id])
    assert (row["mutation_key"], row["append_window"], row["metadata"], row["step_keys"]) == (
        "m1",
        "g",
        {"by": "planner"},
        ["b", "a"],
    )
    assert {s["key"] for s in row["request"]["steps"]} == {"a", "b"}


class TestRetries:
    def again(self, flow: Flow, **other: Any) -> list[tuple[str, str, str]]:
        steps = other.pop("steps", [step("x", payload={"n": 1}), step("y", ["x", "g"])])
        return told(flow.append(*steps, **other))

    def test_the_same_append_again_changes_nothing(self, start: Flows):
        flow = start(gate("g"))
        assert [d for _, _, d in self.again(flow)] == ["APPENDED", "APPENDED"]
        before = flow.snapshot()
        expected = [("x", "ENQUEUED", "ALREADY_APPLIED"), ("y", "BLOCKED", "ALREADY_APPLIED")]
        assert self.again(flow) == expected
        assert (
            self.again(flow, steps=[step("y", ["g", "x"], stage="queued"), step("x", payload={"n": 1.0})]) == expected
        )
        assert self.again(flow, metadata={"of": "the retry"}) == expected
        assert flow.snapshot() == before

    def test_also_after_the_gate_has_closed_and_the_run_has_finished(self, start: Flows):
        flow = start(gate("g"))
        self.again(flow)
        flow.complete("g")
        assert self.again(flow) == [("x", "ENQUEUED", "ALREADY_APPLIED"), ("y", "BLOCKED", "ALREADY_APPLIED")]
        flow.succeed("x", "y")
        assert flow.status == "SUCCEEDED"
        assert self.again(flow) == [("x", "SUCCEEDED", "ALREADY_APPLIED"), ("y", "SUCCEEDED", "ALREADY_APPLIED")]

    @pytest.mark.parametrize(
        "other",
        [
            {"steps": [step("x", payload={"n": 2}), step("y", ["x", "g"])]},
            {"steps": [step("x", payload={"n": 1}), step("y", "x", always="g")]},
            {"steps": [step("x", payload={"n": 1})]},
            {"steps": [step("x", payload={"n": 1}, priority=100), step("y", ["x", "g"])]},
            {"window": "h"},
        ],
    )
    def test_another_append_with_the_key_is_a_conflict(self, start: Flows, other: dict[str, Any]):
        flow = start(gate("g"), gate("h"))
        self.again(flow)
        before = flow.snapshot()
        with flow.q.refused("workflow.append_conflicting_retry", "RL020"):
            self.again(flow, **other)
        assert flow.snapshot() == before

    def test_keys_belong_to_their_run(self, start: Flows):
        for _ in range(2):
            assert [d for _, _, d in self.again(start(gate("g")))] == ["APPENDED", "APPENDED"]


def test_refusals_write_nothing(start: Flows, q: Ledger):
    q.define("off")
    q.row("disable_job_type", job_type="off")
    flow = start(gate("g"), gate("later", "g"), step("j"), organization_id=TENANT)
    before = flow.snapshot()

    def refused(code: str, sqlstate: str, *steps: dict[str, Any], **given: Any) -> dict[str, Any]:
        with q.refused(code, sqlstate) as told:
            q.rows("append_workflow_steps", **{
                "workflow_run_id": flow.id, "mutation_key": "k", "append_window": "g", "steps": list(steps) or [step("x")], **given,
            })  # fmt: skip
        return told.detail

    refused("workflow.append_window_missing", "RL001", append_window="nope")
    refused("workflow.append_window_missing", "RL001", append_window=None)
    refused("workflow.append_window_not_external", "RL004", append_window="j")
    assert refused("workflow.append_window_not_open", "RL004", append_window="later")["gate_status"] == "BLOCKED"
    for key in ("", " \t", None, "x" * 513):
        refused("workflow.append_mutation_key_blank", "RL010", mutation_key=key)
    refused("workflow.run_not_found", "RL001", workflow_run_id=NOBODY)
    refused("workflow.run_not_found", "RL001", organization_id=OTHER_TENANT)
    refused("json.too_large", "RL011", metadata={"a": "x" * 65_536})
    refused("workflow.invalid_dag_empty", "RL030", steps=[])
    refused("workflow.invalid_dag_empty", "RL030", steps=None)
    refused("workflow.invalid_dag_step_key_blank", "RL030", step(" "))
    refused("workflow.invalid_dag_duplicate_step_key", "RL030", step("j"))
    refused("workflow.invalid_dag_duplicate_step_key", "RL030", step("x"), step("x"))
    refused("workflow.invalid_dag_missing_dependency", "RL030", step("x", "nope"))
    refused("workflow.invalid_dag_cycle", "RL030", step("x", ["y", "j"]), step("y", "x"))
    refused("workflow.definition_not_found_or_disabled", "RL002", step("x"), step("y", job_type="off"))
    refused("workflow.definition_not_found_or_disabled", "RL002", step("y", job_type="unknown"))
    found = refused("workflow.invalid_dag_duplicate_step_key", "RL030", step("j"), step("x", "nope"), step("y", oops=1))
    assert {(p["step"], p["code"].removeprefix("workflow.invalid_dag_")) for p in found["problems"]} == {
        ("j", "duplicate_step_key"), ("x", "missing_dependency"), ("y", "unknown_field"),
    }  # fmt: skip
    assert flow.snapshot() == before
    assert len(flow.append(step("x"), organization_id=TENANT)) == 1


def test_a_closed_window_and_a_finished_run_take_nothing(start: Flows, q: Ledger):
    flow = start(gate("g"), step("j"))
    flow.complete("g")
    with q.refused("workflow.append_window_not_open", "RL004"):
        flow.append(step("x"))
    flow.succeed("j")
    with q.refused("workflow.append_terminal_run", "RL004"):
        flow.append(step("x"))
    canceled = start(gate("g"))
    canceled.cancel()
    with q.refused("workflow.append_terminal_run", "RL004"):
        canceled.append(step("x"))


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_only_in_read_committed(start: Flows, isolation: str):
    flow = start(gate("g"))
    with flow.q.conn.transaction(force_rollback=True):
        flow.q.conn.execute(f"set transaction isolation level {isolation}")
        with flow.q.refused("workflow.unsupported_isolation", "RL013"):
            flow.append(step("x"))


def test_gates_that_append_gates(start: Flows):
    """A run grows as long as one of its gates is open."""
    flow = start(gate("g0"))
    for i in range(5):
        flow.append(gate(f"g{i + 1}"), step(f"s{i}", f"g{i}"), window=f"g{i}", key=f"k{i}")
        flow.complete(f"g{i}")
    assert (flow.status, flow.states()["g5"]) == ("RUNNING", "WAITING_FOR_EXTERNAL")
    flow.succeed(*(f"s{i}" for i in range(5)))
    assert flow.status == "WAITING_FOR_EXTERNAL"
    flow.complete("g5")
    assert (flow.status, flow.run["steps_total"]) == ("SUCCEEDED", 11)


def test_an_enqueue_retry_survives_appended_steps(start: Flows, q: Ledger):
    flow = start(gate("g"), idempotency_key="k")
    flow.append(step("x"))
    row = q.row("enqueue_workflow", workflow_type="w", steps=[gate("g")], idempotency_key="k")
    assert (row["workflow_run_id"], row["disposition"]) == (flow.id, "EXISTING")


def test_a_run_does_not_grow_beyond_its_bound(start: Flows):
    flow = start(gate("g"))
    q, most = flow.q, flow.q.db.value("select runledger._limit('run_steps')")
    # As if all but one had been there and succeeded.
    q.db.execute("update runledger.workflow_runs set steps_total = %s, steps_succeeded = %s", [most - 1, most - 2])
    with q.refused("workflow.invalid_dag_dependency_count_overflow", "RL030") as told:
        flow.append(step("a"), step("b"))
    assert told.detail["max_steps"] == most
    q.db.execute("update runledger.workflow_runs set steps_total = 1, steps_succeeded = 0")
    flow.append(step("a"), step("b"))
