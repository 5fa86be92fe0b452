"""What reads of workflows say, word for word, and up to the edge of each bound."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


@pytest.fixture
def run(start: Flows, clock: Clock) -> Flow:
    """Something in each state, begun at instant 0, seen 90 seconds later."""
    clock.stop()
    flow = start(
        step("crawl", organization_id=str(TENANT)), step("score", "crawl", max_attempts=3), step("x" * 40, always="crawl"),
        gate('approve\n"it"', "crawl"), step("publish", ["score", 'approve\n"it"'], always="x" * 40),
        *(step(f"part{n}") for n in range(3)), step("end", [f"part{n}" for n in range(3)], always=["publish", "score", "x" * 40, 'approve\n"it"']),
        gate("g", "bad"), step("bad"), workflow_type="re\nsearch", organization_id=OTHER_TENANT,
    )  # fmt: skip
    clock.advance(10)
    flow.succeed("crawl")
    flow.fail("bad")
    clock.advance(20)
    flow.cancel_job("part1", reason="because " + "r" * 60)
    flow.finish("score", "FAILED", error_code="e", error_message="m")
    clock.advance(60)
    return flow


def tree(q: Ledger, flow: Flow, **scope: Any) -> list[str]:
    return [row["workflow_tree"] for row in q.rows("workflow_tree", workflow_run_id=flow.id, **scope)]


X = "x" * 40
TREE = [
    "re search  RUNNING  1/11 done, 3 failed  90.0 s",
    "  crawl                              SUCCEEDED            attempt 1/8 0 ms",
    "  part0                              RUNNING              attempt 1/8 80.0 s",
    "  part1                              CANCELED             attempt 1/8 20.0 s (because " + "r" * 52 + ")",
    "  part2                              RUNNING              attempt 1/8 80.0 s",
    "  bad                                FAILED               attempt 1/8 0 ms (TERMINAL)",
    "    score                            ENQUEUED             attempt 1/3 60.0 s (RETRYABLE)",
    f"    {X} RUNNING              attempt 1/8 60.0 s",
    '    approve "it"                     WAITING_FOR_EXTERNAL 80.0 s',
    "    g                                CANCELED             10.0 s (workflow.dependency_unsatisfied)",
    f'      publish                        BLOCKED              90.0 s waits for score, {X}, approve "it"',
    f'        end                          BLOCKED              90.0 s waits for part0, part2, score, {X}, approve "it"',
]


def test_the_tree(q: Ledger, run: Flow):
    assert tree(q, run) == TREE
    assert tree(q, run, organization_id=OTHER_TENANT) == [line for line in TREE if "crawl" not in line]
    run.cancel()
    assert tree(q, run)[0] == "re search  CANCELED  1/11 done, 10 failed  90.0 s"


CHART = [
    "flowchart TD",
    '  s1["crawl"]:::succeeded',
    '  s2["part0"]:::running',
    '  s3["part1"]:::canceled',
    '  s4["part2"]:::running',
    '  s5["bad"]:::failed',
    '  s6["score"]:::enqueued',
    f'  s7["{X}"]:::running',
    "  s8{{\"approve 'it'\"}}:::waiting_for_external",
    '  s9{{"g"}}:::canceled',
    '  s10["publish"]:::blocked',
    '  s11["end"]:::blocked',
    "  s1 --> s6",
    "  s1 -.-> s7",
    "  s1 --> s8",
    "  s2 --> s11",
    "  s3 --> s11",
    "  s4 --> s11",
    "  s5 --> s9",
    "  s6 --> s10",
    "  s6 -.-> s11",
    "  s7 -.-> s10",
    "  s7 -.-> s11",
    "  s8 --> s10",
    "  s8 -.-> s11",
    "  s10 -.-> s11",
    "  classDef succeeded fill:#c8e6c9",
    "  classDef failed fill:#ffcdd2",
    "  classDef canceled fill:#e0e0e0",
    "  classDef running fill:#bbdefb",
    "  classDef enqueued fill:#e3f2fd",
    "  classDef waiting_for_external fill:#fff9c4",
    "  classDef blocked fill:#ffffff",
]


def test_the_chart(q: Ledger, start: Flows, run: Flow):
    start(step("a"), step("b", "a"))  # of which nothing is drawn
    chart = q.row("workflow_mermaid", workflow_run_id=run.id)["workflow_mermaid"]
    assert chart.splitlines() == CHART
    chart = q.row("workflow_mermaid", workflow_run_id=run.id, organization_id=OTHER_TENANT)["workflow_mermaid"]
    assert chart.splitlines() == [line for line in CHART if "s1[" not in line and "s1 -" not in line]


def test_the_edges(q: Ledger, start: Flows, run: Flow):
    start(step("a"), step("b", "a"), organization_id=OTHER_TENANT)
    names = {s["ordinal"]: s for s in q.rows("list_workflow_steps", workflow_run_id=run.id)}
    drawn = [line.split() for line in CHART if " s" in line and "->" in line]
    right = [
        {
            "workflow_run_id": run.id, "dependent_ordinal": int(d[1:]), "dependent_key": names[int(d[1:])]["step_key"],
            "prerequisite_ordinal": int(p[1:]), "prerequisite_key": names[int(p[1:])]["step_key"],
            "release_mode": "ON_SUCCESS" if arrow == "-->" else "ON_TERMINAL",
            "prerequisite_status": names[int(p[1:])]["status"], "prerequisite_is_hidden": False,
        }
        for p, arrow, d in sorted(drawn, key=lambda e: (int(e[2][1:]), int(e[0][1:])))
    ]  # fmt: skip
    assert q.rows("list_workflow_edges", workflow_run_id=run.id) == right
    hidden = {"prerequisite_key": None, "prerequisite_status": None, "prerequisite_is_hidden": True}
    theirs = [r | hidden if r["prerequisite_ordinal"] == 1 else r for r in right]
    assert q.rows("list_workflow_edges", workflow_run_id=run.id, organization_id=OTHER_TENANT) == theirs


def test_a_plan(db: Db, q: Ledger, clock: Clock):
    """A worker counts if it was seen within five minutes; at that instant it does not any more."""
    clock.stop()
    q.define("off")
    q.row("disable_job_type", job_type="off")
    q.rows("register_worker", worker_id="old", job_types=["t", "off"])
    clock.advance(1)
    q.rows("register_worker", worker_id="new", job_types=["t"])
    clock.advance(299)
    steps = [step("a"), step("b", "a", always="g", job_type="off"), gate("g")]
    plan = [
        {"level": 0, "step_key": "a", "job_type": "t", "waits_for": [], "handler": "DEFINED", "workers": 1},
        {"level": 0, "step_key": "g", "job_type": None, "waits_for": [], "handler": "EXTERNAL", "workers": 0},
        {"level": 1, "step_key": "b", "job_type": "off", "waits_for": ["a", "g"], "handler": "DISABLED", "workers": 0},
    ]
    assert q.rows("explain_workflow", steps=steps) == plan
    clock.advance(1)
    plan[0]["workers"] = 0
    assert q.rows("explain_workflow", steps=steps) == plan


def test_runs_are_told_whole_wherever_they_are_listed(db: Db, q: Ledger, start: Flows, run: Flow):
    flows = [run, start(step("a"), organization_id=TENANT, idempotency_key="k"), start(gate("g"))]
    flows[1].cancel()
    columns = [
        "workflow_type", "organization_id", "status", "steps_total", "steps_active", "steps_waiting", "steps_failed",
        "steps_succeeded", "status_reason", "started_at", "finished_at", "created_at",
    ]  # fmt: skip
    rows = {f.id: {"workflow_run_id": f.id, **{c: f.run[c] for c in columns}} for f in flows}
    assert q.rows("list_workflows") == [rows[f.id] for f in flows[::-1]]
    assert q.rows("list_live_workflows") == [rows[flows[0].id], rows[flows[2].id]]
    assert q.rows("list_workflows", organization_id=TENANT) == [rows[flows[1].id]]
    assert q.rows("find_workflow", workflow_type="w", idempotency_key="k", organization_id=TENANT) == [rows[flows[1].id]]


def test_every_page_has_its_bounds(q: Ledger, run: Flow):
    for call in ("list_workflows", "list_live_workflows", "list_workflow_steps", "list_workflow_edges", "list_workflow_mutations"):
        of_run = {"workflow_run_id": run.id} if call.startswith("list_workflow_") else {}
        for most in (1, 1000):
            q.rows(call, max_rows=most, **of_run)
        for most in (0, 1001, -1, None):
            with q.refused("job.invalid_pagination", "RL010") as told:
                q.rows(call, max_rows=most, **of_run)
            assert told.detail == {"code": "job.invalid_pagination", "max_rows": most, "max": 1000}


def test_lists_filter_under_a_tenant_as_without(q: Ledger, start: Flows, clock: Clock):
    """Each filter alone, on both of its sides, for runs with a tenant and for all."""
    clock.stop()
    flows = []
    for n in range(6):
        flows.append(start(step("a"), workflow_type="xy"[n % 2], organization_id=TENANT if n else None))
        clock.advance(1)
    flows[2].cancel()
    created = [f.run["created_at"] for f in flows]
    for scope in ({}, {"organization_id": TENANT}):
        mine = [n for n in range(6) if n or not scope]

        def listed(scope: dict[str, Any] = scope, **given: Any) -> list[int]:
            return sorted([f.id for f in flows].index(r["workflow_run_id"]) for r in q.rows("list_workflows", **scope, **given))

        assert listed() == mine
        assert listed(workflow_type="y") == [1, 3, 5]
        assert listed(contains="Y") == [1, 3, 5]
        assert listed(status="CANCELED") == [2]
        assert listed(status="RUNNING") == [n for n in mine if n != 2]
        assert listed(before_id=flows[3].id) == [n for n in mine if n < 3]
        assert listed(created_after=created[3]) == [4, 5]
        assert listed(created_after=created[3] - timedelta(microseconds=1)) == [3, 4, 5]
        assert listed(created_before=created[3]) == [n for n in mine if n < 3]
        assert listed(created_before=created[3] + timedelta(microseconds=1)) == [n for n in mine if n <= 3]
        assert listed(max_rows=2) == [4, 5]


def test_bodies_and_keys_are_for_the_owner(q: Ledger, start: Flows):
    flow = start(step("a", payload={"p": 1}), organization_id=TENANT)
    other = start(step("a"), organization_id=TENANT)
    flow.succeed("a")
    stored = flow.step("a")
    row = q.row("get_workflow_step", workflow_run_id=flow.id, step_key="a")
    assert row == {k: stored[k] for k in row}
    assert set(stored) - set(row) == {"id"}
    read = q.db.all("select action, object, detail from runledger.operator_actions where action = 'get_workflow_step'")
    assert read == [{"action": "get_workflow_step", "object": str(flow.id), "detail": {"step_key": "a"}}]
    assert q.rows("get_workflow_step", workflow_run_id=flow.id, step_key="k" * 300) == []
    [said] = q.db.column("select detail from runledger.operator_actions where detail ->> 'step_key' <> 'a'")
    assert said == {"step_key": "k" * 200}
    outcome = q.row("workflow_result", workflow_run_id=flow.id, organization_id=TENANT)
    assert outcome == {
        "workflow_run_id": flow.id, "status": "SUCCEEDED", "is_finished": True, "result_step_key": None, "result": None,
        "finished_at": flow.run["finished_at"],
    }  # fmt: skip
    assert q.row("workflow_result", workflow_run_id=other.id)["status"] == "RUNNING"


def test_a_run_that_prune_is_taking_away_is_not_there(db: Db, q: Ledger, start: Flows):
    flow, other = (start(gate("g"), step("a", "g"), step("b", "g")) for _ in range(2))
    for one in (flow, other):
        one.append(step("x"))
        one.cancel()
    db.execute("update runledger.workflow_runs set pruned_at = now() where id = %s", [flow.id])
    for call in ("list_workflow_steps", "list_workflow_edges", "list_workflow_mutations", "get_workflow"):
        assert (q.rows(call, workflow_run_id=flow.id), bool(q.rows(call, workflow_run_id=other.id))) == ([], True)
    assert q.rows("get_workflow_step", workflow_run_id=flow.id, step_key="a") == []
    calls: dict[str, dict[str, Any]] = {
        "workflow_result": {}, "workflow_tree": {}, "workflow_mermaid": {}, "cancel_workflow": {},
        "await_workflow": {"until": db.value("select now()")}, "complete_external_step": {"step_key": "g"},
        "append_workflow_steps": {"mutation_key": "l", "append_window": "g", "steps": [step("y")]},
    }  # fmt: skip
    for call, given in calls.items():
        for gone in (flow.id, NOBODY):
            with q.refused("workflow.run_not_found", "RL001") as told:
                q.rows(call, workflow_run_id=gone, **given)
            assert told.detail == {"code": "workflow.run_not_found", "workflow_run_id": str(gone)}
    db.execute("update runledger.workflow_runs set pruned_at = null")


def test_how_long_somebody_may_wait(q: Ledger, start: Flows, clock: Clock):
    now = clock.stop()
    flow, other = start(gate("g"), organization_id=TENANT), start(gate("g"))
    row = q.row("await_workflow", workflow_run_id=flow.id, until=now + timedelta(hours=1))
    assert row == q.row("workflow_result", workflow_run_id=flow.id)
    assert (flow.run["awaited_until"], other.run["awaited_until"]) == (now + timedelta(hours=1), None)
    with q.refused("worker.invalid_idle_time", "RL010") as told:
        q.row("await_workflow", workflow_run_id=flow.id, until=now + timedelta(hours=1, microseconds=1))
    assert told.detail == {"code": "worker.invalid_idle_time", "max_seconds": 3600}
    with q.refused("workflow.run_not_found"):
        q.row("await_workflow", workflow_run_id=other.id, until=now, organization_id=TENANT)
    assert other.run["awaited_until"] is None
    flow.complete("g")
    q.row("await_workflow", workflow_run_id=flow.id, until=now + timedelta(hours=1))
    assert flow.run["awaited_until"] == now + timedelta(hours=1)


def test_only_who_still_waits_is_told(db: Db, q: Ledger, start: Flows, clock: Clock):
    now = clock.stop()
    flows = [start(gate("g"), step("a")) for _ in range(4)]
    for flow, seconds in zip(flows, (9, 10, 11, None), strict=True):
        if seconds:
            q.row("await_workflow", workflow_run_id=flow.id, until=now + timedelta(seconds=seconds))
    listener = db.connect()
    listener.execute("listen runledger_run")
    clock.advance(10)
    for flow in flows:
        flow.complete("g")
    listener.execute("select 1")
    assert list(listener.notifies(timeout=0)) == []
    for flow in flows:
        flow.cancel()
    listener.execute("select 1")
    assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == [str(flows[2].id)]
    assert list(listener.notifies(timeout=0)) == []


def test_inputs_are_given_up_to_their_bound(q: Ledger, start: Flows):
    """As text: what is stored is smaller here. Four of the largest outputs that there are need no measuring."""
    for total, whole in ((1_048_576, True), (1_048_577, False)):
        keys = [f"s{n}" for n in range(5)]
        flow = start(*(step(k) for k in keys), step("end", keys))
        sizes = [200_000] * 4 + [total - 800_000]
        for key, size in zip(keys, sizes, strict=True):
            flow.finish(key, output="x" * (size - 2))
        [claimed] = flow.claim()
        given = {k: "x" * (size - 2) for k, size in zip(keys, sizes, strict=True)}
        assert (claimed["inputs"], claimed["inputs_omitted"]) == ((given, False) if whole else (None, True))
        lease = flow.lease("end")
        for most, pages in ((200_000, [1, 1, 1, 1, 1]), (400_000, [2, 2, 1]), (399_999, [1] * 5), (33_554_432, [5])):
            seen: list[str] = []
            sizes_of_pages = []
            while page := q.rows("step_inputs", **lease, after_key=seen[-1] if seen else None, max_bytes=most):
                seen += [r["step_key"] for r in page]
                assert page == [{"step_key": r["step_key"], "status": "SUCCEEDED", "output": given[r["step_key"]]} for r in page]
                sizes_of_pages.append(len(page))
            assert (seen, sizes_of_pages) == (keys, pages)
        with q.refused("job.invalid_limit") as told:
            q.rows("step_inputs", **lease, max_bytes=33_554_433)
        assert told.detail == {"code": "job.invalid_limit", "max": 33_554_432}
        flow.succeed("end")
    with q.refused("job.not_found") as told:
        q.rows("step_inputs", job_id=NOBODY, lease_token=1)
    assert told.detail == {"code": "job.not_found", "job_id": str(NOBODY)}
    with q.refused("job.lease_owner_mismatch") as told:
        q.rows("step_inputs", **lease)
    assert told.detail == {"code": "job.lease_owner_mismatch", "job_id": str(lease["job_id"]), "status": "SUCCEEDED"}


def test_the_oldest_gates_time_out_first(db: Db, q: Ledger, start: Flows, clock: Clock):
    now = clock.stop()
    flow = start(*(gate(f"g{n}", timeout_seconds=n, on_timeout="FAILED") for n in (3, 1, 2, 4)), gate("h"))
    out = "select runledger._time_out_gates(%s, %s)"
    assert db.value(out, [2, now + timedelta(seconds=1, microseconds=-1)]) == 0
    assert db.value(out, [2, now + timedelta(seconds=3)]) == 2
    assert {k for k, s in flow.states().items() if s == "FAILED"} == {"g1", "g2"}
    assert db.value(out, [2, now + timedelta(seconds=3)]) == 1
    assert flow.run["steps_waiting"] == 2


def test_refusals_say_where(q: Ledger, start: Flows):
    """Everything that an error tells of a run, and nothing else."""
    flow = start(gate("g"), gate("later", "g"), step("j"), idempotency_key="k")
    flow.append(step("x"))
    of_run = {"workflow_run_id": str(flow.id)}
    cases: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
        ("append_workflow_steps", {"append_window": "no"}, "append_window_missing", {"status": "RUNNING"}),
        ("append_workflow_steps", {"append_window": "j"}, "append_window_not_external", {"status": "RUNNING"}),
        ("append_workflow_steps", {"append_window": "later"}, "append_window_not_open", {"status": "RUNNING", "gate_status": "BLOCKED"}),
        ("append_workflow_steps", {"mutation_key": "k"}, "append_conflicting_retry", {}),
        ("complete_external_step", {"step_key": "no"}, "external_step_not_found", {}),
        ("complete_external_step", {"step_key": "j"}, "external_step_not_external", {"step_key": "j"}),
        ("complete_external_step", {"step_key": "later"}, "external_step_not_waiting", {"step_key": "later", "status": "BLOCKED"}),
    ]  # fmt: skip
    for call, given, code, detail in cases:
        default = {"append_window": "g", "mutation_key": "m", "steps": [step("y")]} if call.startswith("a") else {}
        with q.refused(f"workflow.{code}") as told:
            q.rows(call, workflow_run_id=flow.id, **{**default, **given})
        assert told.detail == {"code": f"workflow.{code}", **of_run, **detail}
    flow.complete("g", "FAILED", reason="r", error_code="c", error_message="m")
    same = {"outcome": "FAILED", "reason": "r", "error_code": "c", "error_message": "m"}
    for other in ({"outcome": "CANCELED"}, {"reason": None}, {"reason": "x"}, {"error_code": "x"}, {"error_message": None}):
        with q.refused("workflow.external_step_conflicting_completion_retry") as told:
            flow.complete("g", **{**same, **other})
        assert told.detail == {"code": told.code, **of_run, "step_key": "g", "status": "FAILED"}
    assert flow.complete("g", **same) == {
        "workflow_run_id": flow.id, "step_key": "g", "status": "FAILED", "replayed": True, "run_status": "RUNNING",
    }  # fmt: skip
    flow.cancel()
    with q.refused("workflow.append_terminal_run") as told:
        flow.append(step("y"), key="m")
    assert told.detail == {"code": "workflow.append_terminal_run", **of_run, "status": "CANCELED"}
