"""cancel_workflow, and active keys with what they wait for."""

from __future__ import annotations

import pytest

from tests.support.clock import Clock
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


def test_all_that_is_open_is_canceled_and_the_rest_stays(start: Flows, clock: Clock):
    flow = start(
        step("done"), step("failed"), step("leased"), step("pending", "done"), step("blocked", always=["leased", "pending"]),
        gate("open"), gate("shut", "leased"), step("retry", max_attempts=5),
    )  # fmt: skip
    flow.succeed("done")
    flow.fail("failed")
    flow.finish("retry", "FAILED", error_code="e", error_message="m")
    before = {k: flow.step(k) for k in ("done", "failed")}
    assert flow.cancel(reason="enough") == {"workflow_run_id": flow.id, "disposition": "CANCELED", "status": "CANCELED"}
    assert {k: flow.step(k) for k in before} == before
    for key in ("leased", "pending", "blocked", "open", "shut", "retry"):
        row = flow.step(key)
        assert (row["status"], row["status_reason"], row["finished_at"] is not None) == ("CANCELED", "enough", True)
    run = flow.run
    assert (run["status"], run["status_reason"], run["finished_at"] is not None, run["result"]) == (
        "CANCELED",
        "enough",
        True,
        None,
    )
    assert (
        run["steps_total"],
        run["steps_active"],
        run["steps_waiting"],
        run["steps_failed"],
        run["steps_succeeded"],
    ) == (8, 0, 0, 7, 1)
    assert {j["status"] for j in flow.jobs()} == {"SUCCEEDED", "DEAD_LETTERED", "CANCELED"}
    assert len(flow.jobs()) == 5
    assert flow.q.told(flow.job_id("pending"))[-1][0] == "CANCELED"
    clock.advance(3600)
    assert flow.q.reap() == []
    assert flow.claim() == []


def test_a_handler_at_work_learns_of_it_and_cannot_finish(start: Flows):
    flow = start(step("a"), step("b", always="a"))
    lease = flow.lease("a")
    flow.cancel()
    assert flow.q.beat(lease) == ["CANCELED"]
    row = flow.q.finish_one(lease, "SUCCEEDED", output=1)
    assert (row["disposition"], row["code"]) == ("LEASE_LOST", "job.canceled")
    assert flow.states() == {"a": "CANCELED", "b": "CANCELED"}
    assert len(flow.jobs()) == 1


@pytest.mark.parametrize("end", ["SUCCEEDED", "COMPLETED_WITH_ERRORS", "CANCELED"])
def test_a_finished_run_stays_as_it_is(start: Flows, end: str):
    flow = start(step("a"), result_step="a")
    {"SUCCEEDED": lambda: flow.succeed("a"), "COMPLETED_WITH_ERRORS": lambda: flow.fail("a"), "CANCELED": flow.cancel}[
        end
    ]()
    before = flow.snapshot()
    assert flow.cancel(reason="late") == {"workflow_run_id": flow.id, "disposition": "UNCHANGED", "status": end}
    assert flow.snapshot() == before
    assert flow.run["result"] == ({"of": "a"} if end == "SUCCEEDED" else None)


def test_bad_calls_are_refused(start: Flows, q: Ledger):
    flow = start(step("a"), organization_id=TENANT)
    before = flow.snapshot()
    for told in (
        {"workflow_run_id": NOBODY},
        {"workflow_run_id": None},
        {"workflow_run_id": flow.id, "organization_id": OTHER_TENANT},
    ):
        with q.refused("workflow.run_not_found", "RL001"):
            q.row("cancel_workflow", **told)
    with q.refused("job.invalid_reason", "RL010"):
        flow.cancel(reason="x" * 8193)
    for isolation in ("repeatable read", "serializable"):
        with q.conn.transaction(force_rollback=True):
            q.conn.execute(f"set transaction isolation level {isolation}")
            with q.refused("workflow.unsupported_isolation", "RL013"):
                flow.cancel()
    assert flow.snapshot() == before
    assert flow.cancel(organization_id=TENANT)["disposition"] == "CANCELED"


def test_the_callers_transaction_decides(start: Flows):
    flow = start(step("a"), gate("g"), active_key="k")
    before = flow.snapshot()
    with flow.q.conn.transaction(force_rollback=True):
        assert flow.cancel()["disposition"] == "CANCELED"
    assert flow.snapshot() == before


class TestActiveKeys:
    def again(self, flow: Flow, **other: object) -> tuple[bool, str, str]:
        """Ask for the key once more: whether it is the same run, disposition, status."""
        row = flow.q.row("enqueue_workflow", **{"workflow_type": "w", "steps": [step("a")], "active_key": "k", **other})
        return row["workflow_run_id"] == flow.id, row["disposition"], row["status"]

    def test_a_live_run_is_given_whatever_is_asked_for(self, start: Flows):
        flow = start(gate("g"), active_key="k")
        assert self.again(flow) == (True, "EXISTING_ACTIVE", "WAITING_FOR_EXTERNAL")
        assert self.again(flow, workflow_type="another", metadata={"x": 1}) == (
            True,
            "EXISTING_ACTIVE",
            "WAITING_FOR_EXTERNAL",
        )
        assert self.again(flow, idempotency_key="new") == (True, "EXISTING_ACTIVE", "WAITING_FOR_EXTERNAL")
        assert self.again(flow, active_key="l")[:2] == (False, "INSERTED")
        assert self.again(flow, active_key=None)[:2] == (False, "INSERTED")

    def test_tenants_are_apart(self, start: Flows):
        flows = [start(step("a"), active_key="k", organization_id=o) for o in (None, TENANT, OTHER_TENANT)]
        for flow, organization_id in zip(flows, (None, TENANT, OTHER_TENANT), strict=True):
            assert self.again(flow, organization_id=organization_id)[:2] == (True, "EXISTING_ACTIVE")

    @pytest.mark.parametrize("end", ["succeed", "fail", "cancel_job"])
    def test_a_finished_run_gives_it_back_at_once(self, start: Flows, end: str):
        flow = start(step("a"), active_key="k")
        getattr(flow, end)("a")
        assert not flow.run["active_key_held"]
        assert self.again(flow)[:2] == (False, "INSERTED")

    def test_an_idempotent_retry_finds_its_finished_run(self, start: Flows):
        flow = start(step("a"), active_key="k", idempotency_key="i")
        flow.succeed("a")
        assert self.again(flow, idempotency_key="i") == (True, "EXISTING", "SUCCEEDED")

    def test_a_canceled_run_without_leases_gives_it_back(self, start: Flows):
        flow = start(step("a"), active_key="k")
        flow.cancel()
        assert self.again(flow)[:2] == (False, "INSERTED")

    def test_a_handler_that_tells_it_is_quiet_gives_it_back(self, start: Flows):
        flow = start(step("a"), step("b"), active_key="k")
        leases = [flow.lease(k) for k in "ab"]
        flow.cancel()
        for lease in leases:
            assert self.again(flow) == (True, "EXISTING_ACTIVE", "CANCELED")
            assert flow.q.finish_one(lease, "RELEASE", reason="stopped")["code"] == "job.canceled"
        assert self.again(flow)[:2] == (False, "INSERTED")

    def test_the_reaper_gives_it_back(self, start: Flows, q: Ledger, clock: Clock):
        flow = start(step("a"), active_key="k")
        flow.claim(lease_seconds=50)
        flow.cancel()
        clock.advance(49)
        q.reap()
        assert self.again(flow) == (True, "EXISTING_ACTIVE", "CANCELED")
        clock.advance(2)
        assert q.reap() == []
        assert self.again(flow)[:2] == (False, "INSERTED")

    def test_a_canceled_job_of_a_run_that_goes_on_counts_too(self, start: Flows):
        flow = start(step("a"), step("b"), active_key="k")
        lease = flow.lease("a")
        flow.cancel_job("a")
        flow.succeed("b")
        assert self.again(flow) == (True, "EXISTING_ACTIVE", "COMPLETED_WITH_ERRORS")
        flow.q.finish_one(lease, "RELEASE", reason="stopped")
        assert self.again(flow)[:2] == (False, "INSERTED")

    def test_a_lease_that_had_run_out_before_the_cancel_holds_nothing(self, start: Flows, clock: Clock):
        flow = start(step("a"), active_key="k")
        flow.claim(lease_seconds=5)
        clock.advance(6)
        flow.cancel()
        assert self.again(flow)[:2] == (False, "INSERTED")

    def test_the_word_of_an_earlier_claim_ends_nothing(self, start: Flows):
        flow = start(step("a"), active_key="k")
        old = flow.lease("a")
        flow.finish("a", "RELEASE", reason="shutdown")
        new = flow.lease("a")
        flow.cancel()
        assert flow.q.finish_one(old, "SUCCEEDED")["disposition"] == "LEASE_LOST"
        assert self.again(flow) == (True, "EXISTING_ACTIVE", "CANCELED")
        flow.q.finish_one(new, "SUCCEEDED")
        assert self.again(flow)[:2] == (False, "INSERTED")
