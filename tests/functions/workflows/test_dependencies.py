"""Who is let go when: the ten worked examples, and every line about the resolution of dependencies."""

from __future__ import annotations

import json

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flows, gate, step
from tests.support.ledger import Ledger

UNSATISFIED = "workflow.dependency_unsatisfied"


class TestTenExamples:
    def test_1_a_clean_up_runs_after_a_canceled_step(self, start: Flows):
        flow = start(step("a"), step("b", "a"), step("c", always="b"))
        flow.fail("a")
        assert flow.states() == {"a": "FAILED", "b": "CANCELED", "c": "ENQUEUED"}
        assert flow.status == "RUNNING"
        flow.succeed("c")
        assert flow.status == "COMPLETED_WITH_ERRORS"
        assert flow.run["finished_at"] is not None

    def test_2_an_unsatisfied_step_waits_until_all_have_ended(self, start: Flows):
        flow = start(step("a"), step("b"), step("c", "a", always="b"))
        flow.fail("a")
        assert (flow.states()["c"], flow.counters("c"), flow.status) == ("BLOCKED", (2, 1, 1), "RUNNING")
        flow.succeed("b")
        assert (flow.states()["c"], flow.counters("c"), flow.status) == ("CANCELED", (2, 0, 1), "COMPLETED_WITH_ERRORS")

    @pytest.mark.parametrize(
        ("outcome", "state", "run"),
        [("SUCCEEDED", "ENQUEUED", "RUNNING"), ("FAILED", "CANCELED", "COMPLETED_WITH_ERRORS")],
    )
    def test_3_a_gate_lets_go_by_its_outcome(self, start: Flows, outcome: str, state: str, run: str):
        flow = start(gate("g"), step("j", "g"))
        assert (flow.states(), flow.status) == ({"g": "WAITING_FOR_EXTERNAL", "j": "BLOCKED"}, "RUNNING")
        assert flow.complete("g", outcome)["run_status"] == run
        assert (flow.states(), flow.status) == ({"g": outcome, "j": state}, run)
        if state == "ENQUEUED":
            flow.succeed("j")

    def test_4_a_run_waits_works_waits_and_succeeds(self, start: Flows):
        flow = start(gate("g"))
        assert flow.status == "WAITING_FOR_EXTERNAL"
        [row] = flow.append(step("j2"))
        assert (row["step_key"], row["status"], row["disposition"]) == ("j2", "ENQUEUED", "APPENDED")
        assert flow.status == "RUNNING"
        flow.succeed("j2")
        assert (flow.status, flow.run["finished_at"]) == ("WAITING_FOR_EXTERNAL", None)
        assert flow.complete("g")["run_status"] == "SUCCEEDED"
        assert (flow.status, flow.run["finished_at"] is not None) == ("SUCCEEDED", True)

    def test_5_a_step_appended_behind_a_failure_is_born_canceled(self, start: Flows):
        flow = start(gate("g"), step("f"))
        flow.fail("f")
        [row] = flow.append(step("x", "f"))
        assert row["status"] == "CANCELED"
        assert flow.counters("x") == (1, 0, 1)
        x = flow.step("x")
        assert (x["job_id"], x["released_at"], x["status_reason"], x["last_error_code"]) == (
            None,
            None,
            UNSATISFIED,
            UNSATISFIED,
        )

    def test_6_cancel_of_the_run_lets_nothing_go(self, start: Flows):
        flow = start(step("a"), step("b", always="a"))
        flow.claim()
        flow.cancel()
        assert flow.states() == {"a": "CANCELED", "b": "CANCELED"}
        assert [j["status"] for j in flow.jobs()] == ["CANCELED"]
        assert flow.counters("b") == (1, 0, 0)

    def test_7_cancel_of_one_job_is_an_end_like_any(self, start: Flows):
        flow = start(step("a"), step("b", always="a"), step("c", "a"))
        assert flow.cancel_job("a", reason="not now")["disposition"] == "CANCELED"
        assert flow.states() == {"a": "CANCELED", "b": "ENQUEUED", "c": "CANCELED"}
        assert flow.step("a")["status_reason"] == "not now"
        flow.succeed("b")
        assert flow.status == "COMPLETED_WITH_ERRORS"

    def test_8_a_retried_step_keeps_its_job_and_its_dependents_wait(self, start: Flows, clock: Clock):
        flow = start(step("a", max_attempts=3), step("b", "a"))
        job_id = flow.job_id("a")
        for attempt in (1, 2):
            assert flow.lease("a")["job_id"] == job_id
            assert flow.states()["a"] == "RUNNING"
            row = flow.finish("a", "FAILED", error_code="e.x", error_message="again")
            assert row["disposition"] == "RETRY_SCHEDULED"
            a = flow.step("a")
            assert (a["status"], a["job_id"], a["last_error_code"], a["finished_at"]) == (
                "ENQUEUED",
                job_id,
                "e.x",
                None,
            )
            assert (flow.counters("b"), flow.q.job(job_id)["attempt"]) == ((1, 1, 0), attempt)
            clock.advance(3600)
        flow.succeed("a")
        assert (flow.step("a")["last_error_code"], flow.states()["b"]) == (None, "ENQUEUED")

    def test_9_a_completion_sent_twice_counts_once(self, start: Flows):
        flow = start(step("a"), step("b", "a"), step("c", "b"))
        lease = flow.lease("a")
        flow.succeed("a")
        before = flow.snapshot()
        again = flow.q.finish_one(lease, "SUCCEEDED", output={"of": "a"})
        assert (again["disposition"], again["replayed"]) == ("SUCCEEDED", True)
        other = flow.q.finish_one(lease, "FAILED", error_code="e", error_message="m")
        assert (other["disposition"], other["code"]) == ("LEASE_LOST", "job.lease_owner_mismatch")
        assert flow.snapshot() == before

    def test_10_two_prerequisites_in_one_batch_let_go_once(self, start: Flows):
        flow = start(step("a"), step("b"), step("c", ["a", "b"]))
        flow.q.finish(*({**flow.lease(k), "outcome": "SUCCEEDED"} for k in "ab"))
        assert flow.states()["c"] == "ENQUEUED"
        assert len(flow.jobs()) == 3


@pytest.mark.parametrize("mode", ["after_success", "after_terminal"])
@pytest.mark.parametrize("end", ["SUCCEEDED", "FAILED", "CANCELED"])
@pytest.mark.parametrize("kind", ["JOB", "EXTERNAL"])
def test_release_by_mode_and_end(start: Flows, mode: str, end: str, kind: str):
    flow = start(gate("p"), {**(step("d") if kind == "JOB" else gate("d")), mode: ["p"]})
    flow.complete("p", end)
    bad = mode == "after_success" and end != "SUCCEEDED"
    assert flow.counters("d") == (1, 0, int(bad))
    d = flow.step("d")
    if bad:
        assert (d["status"], d["status_reason"], d["last_error_code"]) == ("CANCELED", UNSATISFIED, UNSATISFIED)
        assert (d["job_id"], d["released_at"], d["finished_at"] is not None) == (None, None, True)
        return
    assert (d["released_at"] is not None, d["finished_at"]) == (True, None)
    if kind == "JOB":
        assert (d["status"], flow.q.told(d["job_id"])) == ("ENQUEUED", [("ENQUEUED", 1, None)])
        flow.succeed("d")
    else:
        assert (d["status"], d["job_id"]) == ("WAITING_FOR_EXTERNAL", None)
        flow.complete("d")
    assert flow.status == ("SUCCEEDED" if end == "SUCCEEDED" else "COMPLETED_WITH_ERRORS")


def test_mixed_modes_on_one_dependent(start: Flows):
    flow = start(step("a"), step("b"), step("c"), step("d", "a", always=["b", "c"]))
    flow.fail("b")
    flow.cancel_job("c")
    assert flow.counters("d") == (3, 1, 0)
    flow.succeed("a")
    assert (flow.states()["d"], flow.counters("d")) == ("ENQUEUED", (3, 0, 0))
    flow.succeed("d")
    assert flow.status == "COMPLETED_WITH_ERRORS"


def test_a_chain_a_diamond_a_fan(start: Flows, db: Db):
    chain = start(*(step(f"s{i}", f"s{i - 1}" if i else ()) for i in range(5)))
    for i in range(5):
        assert list(chain.states().values()) == ["SUCCEEDED"] * i + ["ENQUEUED"] + ["BLOCKED"] * (4 - i)
        chain.succeed(f"s{i}")
    diamond = start(step("top"), step("left", "top"), step("right", "top"), step("end", ["left", "right"]))
    diamond.succeed("top", "left")
    assert (diamond.states()["end"], diamond.counters("end")) == ("BLOCKED", (2, 1, 0))
    diamond.succeed("right", "end")
    fan = start(step("top"), *(step(f"s{i}", "top") for i in range(20)), step("end", [f"s{i}" for i in range(20)]))
    fan.succeed("top")
    for i in range(20):
        assert fan.counters("end") == (20, 20 - i, 0)
        fan.succeed(f"s{i}")
    fan.succeed("end")
    assert {flow.status for flow in (chain, diamond, fan)} == {"SUCCEEDED"}
    twice = db.all("select workflow_run_id, job_id from runledger.workflow_steps group by 1, 2 having count(*) > 1")
    assert twice == []


def test_a_failed_gate_cancels_many_and_lets_their_join_go(start: Flows):
    keys = [f"s{i}" for i in range(201)]
    flow = start(gate("g"), *(step(k, "g") for k in keys), step("heir", keys[0]), step("last", "heir"), step("join", always=keys))
    flow.complete("g", "FAILED")
    assert {s for k, s in flow.states().items() if k in keys} == {"CANCELED"}
    states = flow.states()
    assert (states["join"], states["heir"], states["last"]) == ("ENQUEUED", "CANCELED", "CANCELED")
    assert flow.counters("join") == (201, 0, 0)
    flow.succeed("join")
    assert flow.status == "COMPLETED_WITH_ERRORS"


def test_cancellation_cascades_level_by_level(start: Flows):
    flow = start(
        gate("g"), step("a", "g"), step("b", "a"), step("c", ["b", "g"]), gate("h", "c"), step("d", always="h"), step("e", "d"),
    )  # fmt: skip
    flow.complete("g", "CANCELED")
    assert flow.states() == {
        "g": "CANCELED", "a": "CANCELED", "b": "CANCELED", "c": "CANCELED", "h": "CANCELED", "d": "ENQUEUED", "e": "BLOCKED",
    }  # fmt: skip
    assert (flow.counters("c"), flow.counters("h")) == ((2, 0, 2), (1, 0, 1))
    flow.succeed("d", "e")


def test_one_batch_ends_steps_of_many_runs(start: Flows):
    flows = [start(step("a"), step("b", "a"), step("c", always="a")) for _ in range(6)]
    outcomes = [
        {**flow.lease("a"), "outcome": "SUCCEEDED"} if i % 2
        else {**flow.lease("a"), "outcome": "FAILED", "kind": "TERMINAL", "error_code": "e", "error_message": "m"}
        for i, flow in enumerate(flows)
    ]  # fmt: skip
    flows[0].q.finish(*outcomes)
    for i, flow in enumerate(flows):
        assert flow.states() == {
            "a": "SUCCEEDED" if i % 2 else "FAILED", "b": "ENQUEUED" if i % 2 else "CANCELED", "c": "ENQUEUED",
        }  # fmt: skip


def test_a_step_and_its_prerequisite_never_end_in_one_batch(start: Flows):
    flow = start(step("a"), step("b", "a"))
    lease = flow.lease("a")
    rows = flow.q.finish({**lease, "outcome": "SUCCEEDED"}, {**lease, "outcome": "SUCCEEDED"})
    assert [(r["disposition"], r["code"]) for r in rows] == [("SUCCEEDED", None), ("INVALID", "job.duplicate_item")]
    assert flow.states() == {"a": "SUCCEEDED", "b": "ENQUEUED"}


def test_the_reaper_ends_steps_like_their_worker(start: Flows, clock: Clock):
    flow = start(step("a", max_attempts=1), step("b", "a"), step("c", always="a"), step("r", max_attempts=2))
    flow.claim(lease_seconds=5)
    clock.advance(6)
    assert {r["disposition"] for r in flow.q.reap()} == {"DEAD_LETTERED", "RETRY_SCHEDULED"}
    assert flow.states() == {"a": "FAILED", "b": "CANCELED", "c": "ENQUEUED", "r": "ENQUEUED"}
    assert flow.step("a")["last_error_code"] == "job.lease_expired"
    assert flow.step("a")["status_reason"] == "LEASE_EXPIRED"


def test_an_unstarted_claim_goes_back_as_if_it_had_not_been(start: Flows, clock: Clock):
    flow = start(step("a"))
    flow.claim(lease_seconds=5, prestart=True)
    assert (flow.states()["a"], flow.step("a")["started_at"] is not None) == ("RUNNING", True)
    clock.advance(6)
    assert [r["disposition"] for r in flow.q.reap()] == ["RELEASED"]
    assert (flow.states()["a"], flow.step("a")["started_at"]) == ("ENQUEUED", None)


def test_release_and_continuation_leave_the_step_queued(start: Flows):
    flow = start(step("a", allow_continuation=True), step("b", "a"), step("no"))
    started_at = (flow.claim(), flow.step("a")["started_at"])[1]
    assert flow.finish("a", "CONTINUE", checkpoint={"at": 1})["disposition"] == "CONTINUED"
    assert (flow.states()["a"], flow.step("a")["started_at"]) == ("ENQUEUED", started_at)
    assert flow.q.job(flow.job_id("a"))["run_number"] == 2
    assert flow.finish("a", "RELEASE", reason="shutdown")["disposition"] == "RELEASED"
    assert (flow.states()["a"], flow.step("a")["status_reason"]) == ("ENQUEUED", "shutdown")
    lease = flow.lease("no")
    row = flow.finish("no", "CONTINUE")
    assert (row["disposition"], row["code"]) == ("INVALID", "job.workflow_handler_continuation_not_enabled")
    with flow.q.refused("job.workflow_handler_continuation_not_enabled", "RL004"):
        flow.q.row("continue_job", **lease)
    assert flow.states() == {"a": "ENQUEUED", "b": "BLOCKED", "no": "RUNNING"}


def test_jobs_of_a_workflow_are_not_run_again(start: Flows):
    flow = start(step("a"), step("b"), step("c"))
    flow.fail("a")
    flow.cancel_job("b")
    flow.finish("b", "RELEASE", reason="stopped")
    flow.succeed("c")
    before = flow.snapshot()
    for key in "ab":
        with flow.q.refused("job.workflow_requeue_not_supported", "RL004"):
            flow.q.row("requeue_job", job_id=flow.job_id(key))
    with flow.q.refused("job.workflow_requeue_not_supported", "RL004"):
        flow.q.row("replay_job", job_id=flow.job_id("c"), request_key="k", reason="r")
    assert flow.q.rows("redrive_dead_letters", reason="all") == []
    assert flow.snapshot() == before


def test_a_finished_job_of_a_step_is_not_canceled(start: Flows):
    flow = start(step("a"), step("b", "a"))
    flow.succeed("a")
    with flow.q.refused("job.invalid_state_transition", "RL004"):
        flow.cancel_job("a")
    flow.cancel_job("b")
    assert flow.cancel_job("b")["disposition"] == "UNCHANGED"


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_steps_end_in_read_committed_only(start: Flows, isolation: str):
    flow = start(step("a"), step("b", "a"))
    lease = flow.lease("a")
    with flow.q.conn.transaction(force_rollback=True):
        flow.q.conn.execute(f"set transaction isolation level {isolation}")
        with flow.q.refused("workflow.unsupported_isolation", "RL013"):
            flow.q.finish({**lease, "outcome": "SUCCEEDED"})
    with flow.q.conn.transaction(force_rollback=True):
        flow.q.conn.execute(f"set transaction isolation level {isolation}")
        with flow.q.refused("workflow.unsupported_isolation", "RL013"):
            flow.cancel_job("a")
    assert flow.states()["a"] == "RUNNING"


class TestPayloadCorrection:
    def test_a_pending_step_is_corrected_with_its_job(self, start: Flows):
        flow = start(step("a", payload={"to": "b"}), step("b", "a"), workflow_type="w", idempotency_key="k")
        row = flow.q.row("correct_payload", job_id=flow.job_id("a"), payload={"to": "c"}, reason="typo")
        assert row["disposition"] == "CORRECTED"
        assert flow.step("a")["payload"] == {"to": "c"}
        [claimed] = flow.claim()
        assert claimed["payload"] == {"to": "c"}
        # The request as made stays: its retry still finds the run.
        retry = flow.q.row(
            "enqueue_workflow", workflow_type="w", idempotency_key="k",
            steps=[step("a", payload={"to": "b"}), step("b", "a")],
        )  # fmt: skip
        assert (retry["workflow_run_id"], retry["disposition"]) == (flow.id, "EXISTING")

    def test_a_claimed_or_finished_step_keeps_its_payload(self, start: Flows):
        flow = start(step("a", payload=1), step("b", payload=1))
        flow.claim()
        flow.succeed("b")
        for key in "ab":
            with flow.q.refused("job.invalid_state_transition", "RL004"):
                flow.q.row("correct_payload", job_id=flow.job_id(key), payload=2, reason="late")
            assert (flow.step(key)["payload"], flow.q.job(flow.job_id(key))["payload"]) == (1, 1)

    def test_an_equal_payload_writes_nothing(self, start: Flows):
        flow = start(step("a", payload={"n": 1}))
        before = flow.snapshot()
        row = flow.q.row("correct_payload", job_id=flow.job_id("a"), payload={"n": 1}, reason="same")
        assert (row["disposition"], flow.snapshot()) == ("UNCHANGED", before)


def test_a_type_that_was_disabled_or_changed_does_not_stop_a_run(start: Flows, q: Ledger):
    flow = start(step("a"), step("b", "a"))
    q.row("disable_job_type", job_type="t")
    q.define("t", priority=7, max_attempts=3, timeout_seconds=9)
    flow.succeed("a")
    job = q.job(flow.job_id("b"))
    assert (job["status"], job["priority"], job["max_attempts"], job["timeout_seconds"]) == ("PENDING", 100, 8, 900)


def test_an_edge_that_leaves_its_run_is_told(start: Flows, db: Db):
    one, two = start(step("a")), start(step("a"))
    with db.conn.transaction(force_rollback=True):
        db.execute(
            "insert into runledger.workflow_step_dependencies values (%s, %s, %s, 'ON_SUCCESS', now())",
            [one.id, one.step("a")["id"], two.step("a")["id"]],
        )
        assert "W9" in db.column("select invariant from runledger.fsck()")


def test_events_name_run_and_step(start: Flows):
    flow = start(step("a", stage="warm"), step("b", "a"))
    flow.succeed("a")
    for key, stage in (("a", "warm"), ("b", "queued")):
        event = flow.q.event(flow.job_id(key), "ENQUEUED")
        assert event["payload"] == {"job_type": "t", "workflow_run_id": str(flow.id), "step_key": key}
        assert event["stage"] == stage
        assert json.dumps(event["payload"])
