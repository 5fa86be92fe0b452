"""complete_external_step and gates that time out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger, Raw

CONFLICT = "workflow.external_step_conflicting_completion_retry"
OUTPUT_CONFLICT = "workflow.external_step_conflicting_output_retry"


def test_a_completion_is_stored_and_told(start: Flows):
    flow = start(gate("g"), step("a", "g"))
    row = flow.complete("g", output={"ok": True}, reason="looks good")
    assert row == {
        "workflow_run_id": flow.id,
        "step_key": "g",
        "status": "SUCCEEDED",
        "replayed": False,
        "run_status": "RUNNING",
    }
    g = flow.step("g")
    assert (g["status"], g["output"], g["status_reason"], g["finished_at"] is not None) == (
        "SUCCEEDED",
        {"ok": True},
        "looks good",
        True,
    )
    assert flow.claim()[0]["inputs"] == {"g": {"ok": True}}


def test_a_failure_keeps_code_and_message(start: Flows):
    flow = start(gate("g"))
    flow.complete("g", "FAILED", error_code="review.refused", error_message="no", reason="by hand")
    g = flow.step("g")
    assert (g["last_error_code"], g["last_error_message"], g["status_reason"]) == ("review.refused", "no", "by hand")
    assert flow.status == "COMPLETED_WITH_ERRORS"


@pytest.mark.parametrize(
    "told",
    [
        {"outcome": "SUCCEEDED", "output": {"n": 1, "m": [2]}, "reason": "r"},
        {"outcome": "SUCCEEDED"},
        {"outcome": "FAILED", "error_code": "e.x", "error_message": "m", "reason": "r"},
        {"outcome": "CANCELED", "reason": "r"},
    ],
)
def test_the_same_completion_again_changes_nothing(start: Flows, told: dict[str, Any]):
    flow = start(gate("g"), step("a", always="g"))
    first = flow.complete("g", **told)
    before = flow.snapshot()
    again = flow.complete("g", **told)
    assert (first["replayed"], again) == (False, {**first, "replayed": True})
    if "output" in told:
        assert flow.complete("g", **{**told, "output": Raw('{"m": [2.0], "n": 1.00}')})["replayed"]
    assert flow.snapshot() == before


@pytest.mark.parametrize(
    ("first", "other", "code"),
    [
        ({"outcome": "SUCCEEDED"}, {"outcome": "FAILED"}, CONFLICT),
        ({"outcome": "FAILED"}, {"outcome": "CANCELED"}, CONFLICT),
        ({"outcome": "FAILED", "error_code": "a"}, {"outcome": "FAILED", "error_code": "b"}, CONFLICT),
        ({"outcome": "FAILED", "error_message": "a"}, {"outcome": "FAILED"}, CONFLICT),
        ({"outcome": "CANCELED", "reason": "a"}, {"outcome": "CANCELED", "reason": "b"}, CONFLICT),
        ({"outcome": "CANCELED"}, {"outcome": "CANCELED", "reason": "b"}, CONFLICT),
        ({"output": 1}, {"output": 2}, OUTPUT_CONFLICT),
        ({"output": {"a": 1}}, {}, OUTPUT_CONFLICT),
        ({}, {"output": {"a": 1}}, OUTPUT_CONFLICT),
    ],
)
def test_another_completion_is_a_conflict(start: Flows, first: dict[str, Any], other: dict[str, Any], code: str):
    flow = start(gate("g"))
    flow.complete("g", **first)
    before = flow.snapshot()
    with flow.q.refused(code, "RL020"):
        flow.complete("g", **other)
    assert flow.snapshot() == before


def test_what_is_no_open_gate_is_refused(start: Flows, q: Ledger):
    flow = start(gate("g"), gate("later", "g"), step("j"), organization_id=TENANT)
    other = start(gate("only_there"))
    before = flow.snapshot()

    def refused(code: str, sqlstate: str, **told: Any) -> None:
        with q.refused(code, sqlstate):
            q.row("complete_external_step", **{"workflow_run_id": flow.id, "step_key": "g", **told})

    refused("workflow.external_step_not_waiting", "RL004", step_key="later")
    refused("workflow.external_step_not_external", "RL004", step_key="j")
    refused("workflow.external_step_not_found", "RL001", step_key="nope")
    refused("workflow.external_step_not_found", "RL001", step_key="only_there")
    refused("workflow.external_step_not_found", "RL001", step_key=None)
    refused("workflow.run_not_found", "RL001", workflow_run_id=NOBODY)
    refused("workflow.run_not_found", "RL001", workflow_run_id=None)
    refused("workflow.run_not_found", "RL001", organization_id=OTHER_TENANT)
    for outcome in ("RUNNING", "succeeded", "", None, "WAITING_FOR_EXTERNAL"):
        refused("workflow.external_step_invalid_terminal_status", "RL010", outcome=outcome)
    for outcome in ("FAILED", "CANCELED"):
        refused("workflow.external_step_output_not_allowed", "RL010", outcome=outcome, output={"SECRET": 1})
    refused("job.invalid_error_code", "RL010", outcome="FAILED", error_code=" ")
    refused("json.too_large", "RL011", output="x" * 262_144)
    refused("json.number_out_of_range", "RL011", output=Raw("1e400"))
    assert flow.snapshot() == before
    assert flow.complete("g", organization_id=TENANT)["status"] == "SUCCEEDED"
    other.complete("only_there")


def test_a_gate_of_a_canceled_run_is_closed(start: Flows):
    flow = start(gate("g"), gate("later", "g"))
    flow.cancel(reason="stop")
    with flow.q.refused(CONFLICT, "RL020"):
        flow.complete("g")
    with flow.q.refused("workflow.external_step_not_waiting", "RL004"):
        flow.complete("later", "CANCELED")


def test_json_null_is_no_output(start: Flows):
    flow = start(gate("g"))
    assert flow.complete("g", output=Raw("null"))["status"] == "SUCCEEDED"
    assert flow.step("g")["output"] is None
    assert flow.complete("g")["replayed"]


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_only_in_read_committed(start: Flows, isolation: str):
    flow = start(gate("g"))
    with flow.q.conn.transaction(force_rollback=True):
        flow.q.conn.execute(f"set transaction isolation level {isolation}")
        with flow.q.refused("workflow.unsupported_isolation", "RL013"):
            flow.complete("g")


def test_the_callers_transaction_decides(start: Flows):
    flow = start(gate("g"), step("a", "g"))
    before = flow.snapshot()
    with flow.q.conn.transaction(force_rollback=True):
        assert flow.complete("g")["status"] == "SUCCEEDED"
    assert flow.snapshot() == before


class TestTimeouts:
    @staticmethod
    def timed_out(q: Ledger) -> int:
        return next(r["affected"] for r in q.rows("run_maintenance") if r["task"] == "gate_timeouts")

    @pytest.mark.parametrize(
        ("on_timeout", "state"), [("SUCCEEDED", "ENQUEUED"), ("FAILED", "CANCELED"), ("CANCELED", "CANCELED")]
    )
    def test_a_gate_ends_by_itself(self, start: Flows, q: Ledger, clock: Clock, on_timeout: str, state: str):
        flow = start(gate("g", timeout_seconds=100, on_timeout=on_timeout), step("a", "g"), step("b", always="g"))
        g = flow.step("g")
        assert (g["gate_expires_at"] - g["released_at"]).total_seconds() == 100
        clock.advance(90)
        assert (self.timed_out(q), flow.states()["g"]) == (0, "WAITING_FOR_EXTERNAL")
        clock.advance(11)
        assert self.timed_out(q) == 1
        assert flow.states() == {"g": on_timeout, "a": state, "b": "ENQUEUED"}
        g = flow.step("g")
        assert (g["status_reason"], g["last_error_code"], g["output"]) == (
            "GATE_TIMEOUT",
            "workflow.gate_timeout",
            None,
        )
        assert self.timed_out(q) == 0
        with q.refused(CONFLICT):
            flow.complete("g", on_timeout)

    def test_time_runs_from_the_release(self, start: Flows, q: Ledger, clock: Clock):
        flow = start(step("a"), gate("g", "a", timeout_seconds=100, on_timeout="FAILED"))
        assert flow.step("g")["gate_expires_at"] is None
        clock.advance(500)
        assert self.timed_out(q) == 0
        flow.succeed("a")
        assert self.timed_out(q) == 0
        clock.advance(101)
        assert (self.timed_out(q), flow.status) == (1, "COMPLETED_WITH_ERRORS")

    def test_whoever_comes_before_the_upkeep_completes_it(self, start: Flows, q: Ledger, clock: Clock):
        flow = start(gate("g", timeout_seconds=1, on_timeout="FAILED"))
        clock.advance(100)
        assert flow.complete("g")["run_status"] == "SUCCEEDED"
        assert self.timed_out(q) == 0

    def test_appended_gates_time_out_too(self, start: Flows, q: Ledger, clock: Clock):
        flow = start(gate("g"))
        flow.append(gate("h", timeout_seconds=5, on_timeout="CANCELED"))
        clock.advance(6)
        assert (self.timed_out(q), flow.states()) == (1, {"g": "WAITING_FOR_EXTERNAL", "h": "CANCELED"})

    def test_gates_of_one_run_and_of_many_end_in_one_pass(self, start: Flows, q: Ledger, clock: Clock):
        def one() -> Flow:
            return start(
                *(gate(f"g{i}", timeout_seconds=5, on_timeout=o) for i, o in enumerate(("SUCCEEDED", "FAILED"))),
                step("end", always=["g0", "g1"]), step("good", ["g0", "g1"]),
            )  # fmt: skip

        flows = [one() for _ in range(4)]
        clock.advance(6)
        assert self.timed_out(q) == 8
        for flow in flows:
            assert list(flow.states().values()) == ["SUCCEEDED", "FAILED", "ENQUEUED", "CANCELED"]
            assert flow.status == "RUNNING"
