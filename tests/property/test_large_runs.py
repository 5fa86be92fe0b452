"""Runs of the largest size that one call takes: 10,000 steps."""

from __future__ import annotations

import pytest

from tests.plans.test_workflow_cost import chain, fan, layers
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import Ledger

pytestmark = pytest.mark.slow


@pytest.fixture
def q(db: Db) -> Ledger:
    ledger = Ledger(db, db.conn)
    ledger.define("t")
    return ledger


@pytest.fixture
def start(q: Ledger) -> Flows:
    return Flows(q)


def drain(flow: Flow) -> int:
    """Work it off; returns the number of rounds."""
    rounds = 0
    while claimed := flow.claim():
        flow.q.finish(
            *({"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in claimed)
        )
        rounds += 1
    return rounds


def test_a_fan_of_a_thousand(start: Flows):
    flow = start(*fan(1000))
    assert drain(flow) == 3
    assert flow.status == "SUCCEEDED"
    assert flow.counters("end") == (1000, 0, 0)


def test_ten_thousand_steps_and_thirty_thousand_edges(start: Flows):
    flow = start(*layers(1000, 10, 3))
    assert flow.run["steps_total"] == 10_000
    assert flow.q.db.value("select count(*) from runledger.workflow_step_dependencies") == 27_000
    assert drain(flow) == 10
    assert (flow.status, flow.run["steps_succeeded"]) == ("SUCCEEDED", 10_000)


def test_a_chain_of_ten_thousand_and_its_end(start: Flows):
    """Ten thousand cancellations, one after the other, in one call; and steps that go on behind them."""
    flow = start(*chain(9_999), step("clean", always="s9998"))
    flow.succeed("s0")
    assert flow.states()["s1"] == "ENQUEUED"
    flow.cancel_job("s1")
    assert flow.run["steps_failed"] == 9998
    assert flow.states()["clean"] == "ENQUEUED"
    flow.succeed("clean")
    assert flow.status == "COMPLETED_WITH_ERRORS"


def test_ten_thousand_canceled_side_by_side(start: Flows):
    flow = start(
        gate("g"), *(step(f"s{i}", "g") for i in range(9998)), step("end", always=[f"s{i}" for i in range(9998)])
    )
    flow.complete("g", "FAILED")
    assert (flow.run["steps_failed"], flow.states()["end"]) == (9999, "ENQUEUED")
    flow.succeed("end")


def test_ten_thousand_jobs_canceled_with_their_run(start: Flows):
    flow = start(*(step(f"s{i}") for i in range(10_000)))
    flow.claim(max_jobs=1000)
    flow.cancel()
    assert {j["status"] for j in flow.jobs()} == {"CANCELED"}
    assert (flow.run["steps_failed"], flow.status) == (10_000, "CANCELED")


def test_a_cycle_of_ten_thousand_is_named(q: Ledger):
    [found] = q.rows("validate_workflow", steps=[step("s0", "s9999"), *chain(10_000)[1:]])
    assert found["code"] == "workflow.invalid_dag_cycle"
    assert found["message"].endswith("(cut)")
