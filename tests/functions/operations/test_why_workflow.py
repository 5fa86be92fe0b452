"""why_workflow: an answer for every state a step can be in, down to the root of it, and a fix that fixes.

What it says in each case stands in told/test_why_workflow.txt, word for word.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger
from tests.support.told import ranked, telling


@pytest.fixture(autouse=True)
def heard(request: pytest.FixtureRequest, db: Db, clock: Clock) -> Iterator[None]:
    """Every answer is held against told/test_why_workflow.txt; time stands still, so that it can be."""
    clock.strike()
    with telling(request, clock=clock) as db.told:
        yield


class Earlier(Flows):
    """Runs that began a second ago."""

    def __init__(self, q: Ledger, clock: Clock) -> None:
        super().__init__(q)
        self._clock = clock

    def __call__(self, *steps: dict[str, Any], workflow_type: str = "w", **settings: Any) -> Flow:
        flow = super().__call__(*steps, workflow_type=workflow_type, **settings)
        self._clock.advance(1)
        return flow


@pytest.fixture
def start(q: Ledger, clock: Clock) -> Flows:
    """Runs of the type `t`, which a live worker handles."""
    q.row("register_worker", worker_id="w1", job_types=["t"], max_jobs=100)
    return Earlier(q, clock)


def why(flow: Flow, **scope: Any) -> list[dict[str, Any]]:
    """What it says, word for word as it is written down."""
    rows = ask(flow, **scope)
    assert flow.q.db.told
    flow.q.db.told.hear(*ranked(rows))
    return rows


def ask(flow: Flow, **scope: Any) -> list[dict[str, Any]]:
    """What it says, checked for its shape."""
    rows = flow.q.rows("why_workflow", workflow_run_id=flow.id, **scope)
    assert [r["rank"] for r in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert re.fullmatch(r"[A-Z0-9][^\n]*\.", row["explanation"]), row
        assert "  " not in row["explanation"]
        assert row["fix"] is None or row["fix"].endswith(";")
    return rows


def told(flow: Flow) -> list[tuple[str | None, str]]:
    return [(r["step_key"], r["code"].removeprefix("why.")) for r in why(flow)]


def of(flow: Flow, key: str | None) -> dict[str, Any]:
    [row] = [r for r in why(flow) if r["step_key"] == key]
    return row


def says(row: dict[str, Any], *words: str) -> None:
    for word in words:
        assert word in row["explanation"], row


def mend(flow: Flow, key: str | None) -> None:
    """Run the fix of that row exactly as it is printed; the row must be gone then."""
    row = of(flow, key)
    flow.q.db.execute(row["fix"])
    assert (key, row["code"].removeprefix("why.")) not in told(flow)


def test_a_step_of_another_tenant_is_neither_told_of_nor_named(q: Ledger, start: Flows):
    """As in list_workflow_steps and list_workflow_edges; nor are its errors, its job, or a statement about it."""
    flow = start(
        step("ours"), step("secret", organization_id=str(OTHER_TENANT)), gate("hush", organization_id=str(OTHER_TENANT)),
        step("end", ["ours", "secret", "hush"]), step("after_hush", "hush"), step("after_secret", "secret"),
        step("mute", "after_secret", organization_id=str(OTHER_TENANT)), organization_id=TENANT,
    )  # fmt: skip
    for _ in range(2):
        told = {r["step_key"]: r for r in why(flow, organization_id=TENANT)}
        assert {"ours", "end", "after_hush", "after_secret"} - {None} == set(told)
        assert not re.search("secret(?! )|hush|mute", str([(r["explanation"], r["fix"]) for r in told.values()]))
        assert "What moves first on that way is a step of another tenant" in told["after_hush"]["explanation"]
        assert told["after_hush"]["fix"] is None
        # The run fails at the step of the other tenant.
        [secret] = [s["job_id"] for s in q.rows("list_workflow_steps", workflow_run_id=flow.id) if s["step_key"] == "secret"]
        if q.db.job(secret)["status"] == "PENDING":
            leases = {c["job_id"]: {k: c[k] for k in ("job_id", "lease_token")} for c in q.claim(9)}
            q.finish_one(leases[secret], "FAILED", error_code="e", error_message="secret card", kind="TERMINAL")
    assert told["after_secret"]["code"] == "why.step_unsatisfied"
    assert len(why(flow)) == 7


def test_a_run_that_prune_is_taking_away_is_not_told_of(q: Ledger, start: Flows):
    flow = start(gate("g"))
    q.row("cancel_workflow", workflow_run_id=flow.id)
    q.db.execute("begin")
    q.db.execute("update runledger.workflow_runs set pruned_at = now() where id = %s", [flow.id])
    with pytest.raises(psycopg.Error) as refused:
        q.db.execute("select * from runledger.why_workflow(%s)", [flow.id])
    assert refused.value.sqlstate == "RL001"
    q.db.execute("rollback")


def test_what_can_move_comes_first_then_what_waits_then_what_is_over(start: Flows):
    flow = start(
        step("done"), step("broken"), step("open", "done"), gate("g", "done"), step("late", ["open", "g"]),
        step("never", "broken"), step("other", always="broken"),
    )  # fmt: skip
    flow.succeed("done")
    flow.fail("broken")
    assert told(flow) == [
        ("open", "ready"), ("g", "gate_waiting"), ("other", "behind"), ("late", "step_blocked"),
        ("broken", "step_failed"), ("never", "step_unsatisfied"), ("done", "step_succeeded"),
    ]  # fmt: skip


def test_that_order_is_not_the_order_of_the_run(start: Flows):
    flow = start(gate("g"), step("late", "g"), step("lost"), step("broken"), step("done"), step("after", "done"))
    flow.append(step("new"))
    flow.cancel_job("lost")
    flow.succeed("done")
    flow.fail("broken")
    assert [key for key, _ in told(flow)] == ["g", "after", "new", "late", "broken", "lost", "done"]


class TestGates:
    def test_a_gate_says_since_when_until_when_and_what_then(self, start: Flows):
        flow = start(gate("g", timeout_seconds=600, on_timeout="CANCELED"), step("a", "g"))
        row = of(flow, "g")
        assert row["code"] == "why.gate_waiting"
        assert row["fix"] == f"select * from runledger.complete_external_step('{flow.id}', 'g');"
        says(row, "waits since", "if nobody does until", "(in 10 min) it ends as CANCELED")
        mend(flow, "g")
        assert told(flow)[0] == ("a", "ready")

    def test_a_gate_without_a_limit(self, start: Flows):
        says(of(start(gate("g")), "g"), "without a time limit")

    def test_a_gate_whose_time_is_over(self, start: Flows, clock: Clock):
        flow = start(gate("g", timeout_seconds=60, on_timeout="SUCCEEDED"), step("a", "g"))
        clock.advance(90)
        row = of(flow, "g")
        assert row["code"] == "why.gate_overdue"
        says(row, "it ends as SUCCEEDED as soon as the upkeep runs")
        mend(flow, "g")
        assert flow.states() == {"g": "SUCCEEDED", "a": "ENQUEUED"}

    def test_what_waits_for_a_gate_whose_time_is_over_does_not_complete_it(self, start: Flows, clock: Clock):
        """Completed it would be a success, and it is to end as FAILED."""
        flow = start(gate("g", timeout_seconds=60, on_timeout="FAILED"), step("a", "g"), step("b", always="a"))
        clock.advance(60.5)
        for key in ("a", "b"):
            row = of(flow, key)
            says(row, "What moves first on that way is g (WAITING_FOR_EXTERNAL), whose time is over")
            assert row["fix"] == "select * from runledger.run_maintenance();"
        mend(flow, "b")
        assert flow.states() == {"g": "FAILED", "a": "CANCELED", "b": "ENQUEUED"}

    def test_it_is_overdue_with_its_instant(self, start: Flows, clock: Clock):
        flow = start(gate("g", timeout_seconds=60, on_timeout="FAILED"))
        clock.advance(58.999_999)
        assert told(flow) == [("g", "gate_waiting")]
        clock.advance(0.000_001)
        assert told(flow) == [("g", "gate_overdue")]

    def test_an_odd_key_stays_a_key(self, start: Flows):
        flow = start(gate("it's\\a\n-- g"))
        mend(flow, "it's\\a\n-- g")
        assert flow.status == "SUCCEEDED"


class TestBlocked:
    def test_it_names_what_it_waits_for_and_follows_to_the_root(self, start: Flows):
        flow = start(step("a"), gate("g"), step("b", "a"), step("c", "b"), step("d", ["c", "g"]), step("e", "d"))
        says(of(flow, "d"), "It waits for 2 steps: g (WAITING_FOR_EXTERNAL), c (BLOCKED).", "What moves first", "is g")
        row = of(flow, "c")
        says(row, "It waits for one step: b (BLOCKED). What moves first on that way is a (ENQUEUED)")
        assert row["fix"] == f"select * from runledger.why('{flow.job_id('a')}');"
        says(of(flow, "e"), "d (BLOCKED)", "is g (WAITING_FOR_EXTERNAL)")
        flow.complete("g")
        says(of(flow, "d"), "It waits for one step: c (BLOCKED). What moves first on that way is a")
        flow.succeed("a", "b")
        says(of(flow, "e"), "is c (ENQUEUED)")

    def test_the_fix_of_a_blocked_step_completes_the_gate_in_its_way(self, start: Flows):
        flow = start(gate("g"), step("a", "g"), step("b", "a"))
        mend(flow, "a")
        assert told(flow)[0] == ("a", "ready")

    def test_of_many_prerequisites_five_are_named(self, start: Flows):
        flow = start(*(step(f"s{n}") for n in range(9)), step("end", [f"s{n}" for n in range(9)]))
        row = of(flow, "end")
        says(row, "It waits for 9 steps: ", " and 4 more. What")
        assert row["explanation"].count("(ENQUEUED)") == 6

    def test_five_prerequisites_fill_a_sentence_and_a_sixth_is_one_more(self, start: Flows):
        keys = [f"s{n}" for n in range(6)]
        flow = start(*map(step, keys), step("five", keys[:5]), step("six", keys), step("any", always=keys[:2]))
        says(of(flow, "five"), "s4 (ENQUEUED). What")
        says(of(flow, "six"), "s4 (ENQUEUED) and 1 more. What")

    def test_what_is_over_holds_up_nobody(self, start: Flows):
        """Of prerequisites only those that are open, or that failed where success was asked, are named."""
        flow = start(
            step("done"), step("broken"), step("open"), step("wants", ["done", "open"], "broken"),
            step("never", ["done", "broken"], "open"), step("after", "never"),
        )  # fmt: skip
        flow.succeed("done")
        flow.fail("broken")
        says(of(flow, "wants"), "It waits for one step: open (RUNNING). ")
        says(of(flow, "never"), "It waits for one step: open (RUNNING). ")
        flow.succeed("open")
        says(of(flow, "never"), "needs the success of broken (FAILED). A step")

    def test_a_long_chain_leads_to_its_start(self, start: Flows):
        flow = start(*(step(f"s{n}", f"s{n - 1}" if n else ()) for n in range(500)))
        says(of(flow, "s499"), "s498 (BLOCKED). What moves first on that way is s0 (ENQUEUED)")


class TestJobs:
    def test_a_step_with_a_job_says_what_why_says(self, start: Flows, q: Ledger):
        flow = start(step("a"))
        q.row("pause_job_type", job_type="t", reason="the bank is down")
        row = of(flow, "a")
        [same] = q.rows("why", job_id=flow.job_id("a"))
        assert row["code"] == "why.type_paused"
        assert {k: row[k] for k in ("code", "fix")} == {k: same[k] for k in ("code", "fix")}
        mend(flow, "a")
        assert told(flow) == [("a", "ready")]
        flow.claim()
        assert told(flow) == [("a", "running")]

    def test_all_reasons_of_a_job_are_told(self, start: Flows, q: Ledger):
        flow = start(step("a"))
        q.row("pause_job_type", job_type="t")
        q.row("disable_job_type", job_type="t")
        assert told(flow) == [("a", "type_paused"), ("a", "type_disabled")]

    def test_of_many_open_jobs_twenty_are_asked(self, start: Flows, q: Ledger):
        flow = start(*(step(f"s{n:02}") for n in range(25)))
        lease = flow.lease("s00")
        assert lease
        assert [code for _, code in told(flow)] == ["running"] * 20 + ["step_open"] * 5
        row = of(flow, "s24")
        says(row, "Its job runs")
        assert q.db.value(f"select code from ({row['fix'].rstrip(';')}) as w") == "why.running"

    def test_a_dead_letter_of_a_step_leads_to_its_run(self, start: Flows, q: Ledger):
        flow = start(step("a"), step("b", "a"))
        flow.fail("a")
        [row] = q.rows("why", job_id=flow.job_id("a"))
        assert (row["code"], row["fix"]) == ("why.dead_lettered", f"select * from runledger.why_workflow('{flow.id}');")
        says(row, "does not run twice")
        assert [r["code"] for r in q.db.all(row["fix"])] == [r["code"] for r in why(flow)]


class TestOver:
    def test_a_failed_run_tells_the_failure_and_what_it_took_along(self, start: Flows):
        flow = start(step("a"), step("b", "a"), step("c", "b"), step("d", always="c"))
        flow.fail("a")
        flow.succeed("d")
        assert told(flow) == [
            (None, "run_failed"), ("a", "step_failed"), ("b", "step_unsatisfied"), ("c", "step_unsatisfied"),
            ("d", "step_succeeded"),
        ]  # fmt: skip
        says(of(flow, None), "1 of 4 steps succeeded, 3 failed or were canceled", "enqueue_workflow starts another")
        row = of(flow, "a")
        says(row, "(TERMINAL) with e.x: it broke")
        assert [r["event"] for r in flow.q.db.all(row["fix"])][-1] == "dead"
        says(of(flow, "b"), "needs the success of a (FAILED). A step is not let go")
        says(of(flow, "c"), "needs the success of b (CANCELED). That began with a (FAILED)")

    def test_a_step_that_was_appended_too_late(self, start: Flows):
        flow = start(step("a"), gate("g"))
        flow.fail("a")
        flow.append(step("b", "a"), step("c", "b"))
        row = of(flow, "b")
        assert (row["code"], row["fix"]) == ("why.step_born_unsatisfied", None)
        says(row, "needs the success of a (FAILED), which had ended already when it was appended")

    def test_a_gate_that_failed(self, start: Flows):
        flow = start(gate("g"), step("a", "g"))
        flow.complete("g", "FAILED", reason="refused", error_code="no.budget", error_message="none left")
        row = of(flow, "g")
        assert (row["code"], row["fix"]) == ("why.step_failed", None)
        says(row, "(refused) with no.budget: none left")
        says(of(flow, "a"), "needs the success of g (FAILED)")

    def test_a_canceled_run_and_a_canceled_job(self, start: Flows):
        flow = start(step("a"), step("b", "a"))
        flow.cancel(reason="wrong customer")
        assert told(flow) == [(None, "run_canceled"), ("a", "step_canceled"), ("b", "step_canceled")]
        says(of(flow, None), "(wrong customer)")
        flow = start(step("a"), step("b", "a"))
        flow.cancel_job("a", reason="no need")
        assert told(flow) == [(None, "run_failed"), ("a", "step_canceled"), ("b", "step_unsatisfied")]
        says(of(flow, "b"), "needs the success of a (CANCELED)")

    def test_a_canceled_run_whose_handlers_are_not_quiet_keeps_its_key(self, start: Flows, clock: Clock):
        flow = start(step("a"), active_key="k")
        flow.claim()
        flow.cancel()
        says(of(flow, None), "its active key is held until they are quiet")

    def test_a_run_that_succeeded(self, start: Flows):
        flow = start(step("a"))
        flow.succeed("a")
        assert told(flow) == [(None, "run_succeeded"), ("a", "step_succeeded")]


def test_a_transaction_left_open_keeps_the_run(start: Flows, clock: Clock):
    flow = start(gate("g"))
    forgotten = flow.q.db.connect(autocommit=False)
    forgotten.execute("select from runledger.workflow_runs for update")
    clock.advance(50)
    assert told(flow) == [(None, "run_locked"), ("g", "gate_waiting")]
    says(of(flow, None), f"session {forgotten.info.backend_pid} ")
    mend(flow, None)
    mend(flow, "g")
    assert flow.status == "SUCCEEDED"


def test_of_a_large_run_a_thousand_steps_are_told(start: Flows):
    flow = start(step("top"), *(step(f"s{n}", "top") for n in range(1200)))
    rows = why(flow)
    assert len(rows) == 1001
    assert rows[0]["step_key"] == "top"
    assert {r["code"] for r in rows[1:-1]} == {"why.step_blocked"}
    last = rows[-1]
    assert (last["step_key"], last["code"]) == (None, "why.more_steps")
    says(last, "201 more steps")
    assert len(flow.q.db.all(last["fix"])) == 1202


def test_another_tenant_has_no_such_run(start: Flows, q: Ledger):
    flow = start(step("a"), organization_id=TENANT)
    assert why(flow, organization_id=TENANT)
    for scope in ({"workflow_run_id": flow.id, "organization_id": OTHER_TENANT}, {"workflow_run_id": NOBODY}):
        with q.refused("workflow.run_not_found"):
            q.rows("why_workflow", **scope)
    with q.refused("workflow.run_not_found"):
        q.rows("why_workflow", workflow_run_id=None)


def test_no_payload_no_output_and_no_key_is_told(start: Flows):
    flow = start(
        step("a", payload={"SECRET": 1}), gate("g", payload={"SECRET": 2}), step("b", "a"),
        idempotency_key="SECRET", active_key="SECRET", metadata={"SECRET": 3},
    )  # fmt: skip
    seen = str(why(flow))
    flow.finish("a", output={"SECRET": 4})
    flow.complete("g", output={"SECRET": 5})
    seen += str(why(flow))
    assert "SECRET" not in seen


# --- every state of a step has an answer ----------------------------------------------------------------

FITTING = {
    "ENQUEUED": {"ready", "behind", "not_picked_up", "retry_wait", "step_open"},
    "RUNNING": {"running", "over_timeout", "step_open"},
    "WAITING_FOR_EXTERNAL": {"gate_waiting", "gate_overdue"},
    "BLOCKED": {"step_blocked"},
    "SUCCEEDED": {"step_succeeded"},
    "FAILED": {"step_failed"},
    "CANCELED": {"step_canceled", "step_unsatisfied", "step_born_unsatisfied"},
}


def random_steps(rng: random.Random) -> list[dict[str, Any]]:
    keys, steps = [f"s{n}" for n in range(14)], []
    for n, key in enumerate(keys):
        before = rng.sample(keys[:n], min(n, rng.randint(0, 3)))
        after = [k for k in before if rng.random() < 0.7]
        make = gate if rng.random() < 0.25 else step
        limit = {"timeout_seconds": 120, "on_timeout": "SUCCEEDED"} if make is gate and rng.random() < 0.5 else {}
        steps.append(make(key, after, [k for k in before if k not in after], **limit))
    return steps


def move(rng: random.Random, flow: Flow, clock: Clock) -> None:
    """Do one thing that brings the run on, or lets time pass."""
    states = flow.states()
    gates = [k for k, s in states.items() if s == "WAITING_FOR_EXTERNAL"]
    queued = [k for k, s in states.items() if s == "ENQUEUED"]
    running = [k for k, s in states.items() if s == "RUNNING"]
    dice = rng.random()
    if dice < 0.15:
        clock.advance(rng.choice([timedelta(minutes=2), timedelta(minutes=20)]))
        flow.q.row("register_worker", worker_id="w1", job_types=["t"], max_jobs=100)
    elif dice < 0.25:
        flow.q.rows("run_maintenance")
    elif dice < 0.35 and queued + running:
        flow.cancel_job(rng.choice(queued + running))
    elif dice < 0.5 and queued:
        flow.claim(max_jobs=1, lease_seconds=86400)
    elif dice < 0.6 and gates:
        flow.complete(rng.choice(gates), rng.choice(["SUCCEEDED", "SUCCEEDED", "FAILED", "CANCELED"]))
    elif running:
        end = {"outcome": "FAILED", "error_code": "e", "error_message": "m"}
        kind = rng.choice(["RETRYABLE", "TERMINAL", None, None, None])
        flow.finish(rng.choice(running), **({**end, "kind": kind} if kind else {"outcome": "SUCCEEDED"}))


@pytest.mark.parametrize("seed", range(5))
def test_every_step_of_random_runs_has_a_fitting_answer(start: Flows, clock: Clock, seed: int):
    """Random graphs, moved at random; after each move every step has codes that fit its status, and no other."""
    rng = random.Random(seed)  # noqa: S311 - a test's dice
    flow = start(*random_steps(rng))
    seen: set[str] = set()
    while True:
        states, found = flow.states(), [(r["step_key"], r["code"].removeprefix("why.")) for r in ask(flow)]
        assert {key for key, _ in found if key} == set(states)
        for key, code in found:
            assert key is None or code in FITTING[states[key]], (key, states[key], code)
            seen.add(code)
        assert (found[0][0] is None) == (flow.run["finished_at"] is not None)
        if flow.run["finished_at"] is not None:
            break
        move(rng, flow, clock)
    assert {"step_succeeded", "step_blocked", "running", "ready"} <= seen
