"""enqueue_workflow and validate_workflow: what is written, what is refused and how it is told."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.flows import Flows, gate, step
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger, Raw

DAG = "workflow.invalid_dag_"


def test_roots_go_at_once_and_the_rest_waits(start: Flows, q: Ledger):
    flow = start(
        step("c", ["a", "b"]), step("a"), gate("g"), step("b", "a", always="g"), metadata={"m": 1}, result_step="c"
    )
    assert flow.states() == {"a": "ENQUEUED", "g": "WAITING_FOR_EXTERNAL", "b": "BLOCKED", "c": "BLOCKED"}
    assert [flow.counters(k) for k in "agbc"] == [(0, 0, 0), (0, 0, 0), (2, 2, 0), (2, 2, 0)]
    [job] = flow.jobs()
    assert (job["id"], job["status"], job["workflow_run_id"]) == (flow.job_id("a"), "PENDING", flow.id)
    assert q.told(job["id"]) == [("ENQUEUED", 1, None)]
    run = flow.run
    assert (run["status"], run["metadata"], run["result_step_key"], run["finished_at"]) == (
        "RUNNING",
        {"m": 1},
        "c",
        None,
    )
    assert (run["steps_total"], run["steps_active"], run["steps_waiting"]) == (4, 3, 1)
    assert start(gate("g"), gate("h")).status == "WAITING_FOR_EXTERNAL"


def test_settings_come_from_the_step_else_from_the_definition(start: Flows, q: Ledger):
    q.define("u", priority=3, max_attempts=4, timeout_seconds=5)
    own = {
        "priority": -1,
        "max_attempts": 1,
        "timeout_seconds": 7,
        "stage": "s",
        "organization_id": str(OTHER_TENANT),
        "payload": [1],
    }
    flow = start(
        step("plain", job_type="u"),
        step("own", job_type="u", **own),
        step("later", "plain", job_type="u"),
        organization_id=TENANT,
    )
    q.define("u", priority=30, max_attempts=40, timeout_seconds=50)
    own_job = q.job(flow.job_id("own"))
    flow.succeed("plain")
    for key, expected in (
        ("plain", (3, 4, 5, "queued", TENANT, {})), ("later", (3, 4, 5, "queued", TENANT, {})),
        ("own", (-1, 1, 7, "s", OTHER_TENANT, [1])),
    ):  # fmt: skip
        names = ("priority", "max_attempts", "timeout_seconds", "stage", "organization_id", "payload")
        assert tuple(flow.step(key)[n] for n in names) == expected
        if key != "plain":
            job = own_job if key == "own" else q.job(flow.job_id(key))
            assert tuple(job[n] for n in names) == expected


def test_a_gate_has_no_queue_settings(start: Flows):
    row = start(gate("g", payload={"for": "people"})).step("g")
    assert [row[n] for n in ("job_id", "job_type", "priority", "max_attempts", "timeout_seconds", "stage")] == [
        None
    ] * 6
    assert row["payload"] == {"for": "people"}


def test_json_null_is_a_payload(start: Flows, q: Ledger):
    row = q.row(
        "enqueue_workflow",
        workflow_type="w",
        steps=Raw('[{"key": "a", "job_type": "t", "payload": null}, {"key": "b", "job_type": "t"}]'),
    )
    kept = dict(
        q.conn.execute(
            "select step_key, payload::text from runledger.workflow_steps where workflow_run_id = %s",
            [row["workflow_run_id"]],
        ).fetchall()
    )
    assert kept == {"a": "null", "b": "{}"}


def test_explicit_nulls_are_left_out(q: Ledger):
    names = ("priority", "max_attempts", "timeout_seconds", "stage", "organization_id", "allow_continuation", "on_timeout", "external",
             "after_success", "after_terminal")  # fmt: skip
    row = q.row(
        "enqueue_workflow",
        workflow_type="w",
        steps=[{"key": "a", "job_type": "t", **dict.fromkeys(names)}],
        idempotency_key="k",
    )
    again = q.row("enqueue_workflow", workflow_type="w", steps=[step("a")], idempotency_key="k")
    assert (again["workflow_run_id"], again["disposition"]) == (row["workflow_run_id"], "EXISTING")


def test_an_unknown_or_disabled_type_writes_nothing(q: Ledger, start: Flows):
    q.define("off")
    q.row("disable_job_type", job_type="off")
    before = start(step("a")).snapshot()
    for bad in ("off", "unknown"):
        with q.refused("workflow.definition_not_found_or_disabled", "RL002") as told:
            start(step("a"), step("b", "a", job_type=bad), idempotency_key="k", active_key="k")
        assert told.detail["job_types"] == [bad]
    assert start(step("a")).snapshot() != before
    assert q.db.value("select count(*) from runledger.workflow_runs") == 2


def test_the_callers_transaction_decides(start: Flows):
    flow = start(step("a"))
    before = flow.snapshot()
    with flow.q.conn.transaction(force_rollback=True):
        start(step("a"), gate("g", "a"), idempotency_key="k", active_key="k")
    assert flow.snapshot() == before


class TestIdempotency:
    STEPS = (step("a", payload={"n": 1}), gate("g", "a"), step("b", ["a", "g"]), step("c", always=["b", "a"]))

    def test_the_same_request_is_the_same_run(self, start: Flows, q: Ledger):
        flow = start(*self.STEPS, idempotency_key="k", metadata={"x": 1})
        before = flow.snapshot()
        other = [
            step("c", always=["a", "b"], stage="queued"), step("b", ["g", "a"]), gate("g", "a"), step("a", payload={"n": 1.0}),
        ]  # fmt: skip
        for steps in (list(self.STEPS), other):
            row = q.row("enqueue_workflow", workflow_type="w", steps=steps, idempotency_key="k", metadata={"x": 1.00})
            assert row == {"workflow_run_id": flow.id, "disposition": "EXISTING", "status": "RUNNING"}
        assert flow.snapshot() == before
        flow.cancel()
        assert (
            q.row("enqueue_workflow", workflow_type="w", steps=other, idempotency_key="k", metadata={"x": 1})["status"]
            == "CANCELED"
        )

    @pytest.mark.parametrize(
        "other",
        [
            {"metadata": {"x": 2}},
            {"active_key": "z"},
            {"result_step": "a"},
            {"steps": [*STEPS[:3]]},
            {"steps": [step("a", payload={"n": 2}), *STEPS[1:]]},
            {"steps": [step("a", payload={"n": 1}, max_attempts=8), *STEPS[1:]]},
            {"steps": [*STEPS[:3], step("c", "b", always="a")]},
            {"steps": [step("a", payload={"n": 1}, organization_id=str(TENANT)), *STEPS[1:]]},
        ],
    )
    def test_another_request_is_a_conflict(self, start: Flows, q: Ledger, other: dict[str, Any]):
        flow = start(*self.STEPS, idempotency_key="k", metadata={"x": 1})
        before = flow.snapshot()
        with q.refused("workflow.enqueue_conflicting_retry", "RL020") as told:
            q.row("enqueue_workflow", **{
                "workflow_type": "w", "steps": list(self.STEPS), "idempotency_key": "k", "metadata": {"x": 1}, **other,
            })  # fmt: skip
        assert told.detail["workflow_run_id"] == str(flow.id)
        assert flow.snapshot() == before

    def test_tenants_and_types_are_apart(self, start: Flows):
        told: list[dict[str, Any]] = [
            {}, {"organization_id": TENANT}, {"organization_id": OTHER_TENANT}, {"workflow_type": "v"},
        ]  # fmt: skip
        assert len({start(step("a"), idempotency_key="k", **t).id for t in told}) == 4

    @pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
    def test_keyed_only_in_read_committed(self, start: Flows, isolation: str):
        for keys in ({"idempotency_key": "k"}, {"active_key": "k"}, {}):
            with start.q.conn.transaction(force_rollback=True):
                start.q.conn.execute(f"set transaction isolation level {isolation}")
                if keys:
                    with start.q.refused("workflow.unsupported_isolation", "RL013"):
                        start(step("a"), **keys)
                else:
                    start(step("a"))


PROBLEMS: list[tuple[str, list[Any], set[tuple[Any, str]]]] = [
    ("no object", [7], {(None, "step_not_an_object")}),
    ("blank key", [step(" ")], {(" ", "step_key_blank")}),
    ("no key", [{"job_type": "t"}], {(None, "step_key_blank")}),
    ("key of another type", [{"key": 1, "job_type": "t"}], {(None, "step_key_blank")}),
    ("long key", [step("x" * 201)], {("x" * 200, "step_key_blank")}),
    ("no type", [{"key": "a"}], {("a", "job_type_blank")}),
    ("blank type", [step("a", job_type="\t")], {("a", "job_type_blank")}),
    ("blank dependency", [step("a"), step("b", [" "])], {("b", "dependency_step_key_blank")}),
    ("twice the key", [step("a"), step("b"), step("a")], {("a", "duplicate_step_key")}),
    ("itself", [step("a", "a")], {("a", "self_dependency")}),
    ("twice the dependency", [step("a"), step("b", ["a", "a"])], {("b", "duplicate_dependency")}),
    ("twice in both modes", [step("a"), step("b", "a", always="a")], {("b", "duplicate_dependency")}),
    ("missing", [step("a", "x"), step("b", always="y")], {("a", "missing_dependency"), ("b", "missing_dependency")}),
    ("zero attempts", [step("a", max_attempts=0)], {("a", "step_max_attempts_non_positive")}),
    ("attempts as text", [step("a", max_attempts="3")], {("a", "step_max_attempts_non_positive")}),
    ("no time", [step("a", timeout_seconds=-1)], {("a", "step_timeout_seconds_non_positive")}),
    ("gate with a type", [gate("g", job_type="t")], {("g", "external_step_job_type_not_allowed")}),
    ("gate with priority", [gate("g", priority=1)], {("g", "external_step_queue_settings_not_allowed")}),
    ("gate with attempts", [gate("g", max_attempts=1)], {("g", "external_step_queue_settings_not_allowed")}),
    ("gate with a stage", [gate("g", stage="s")], {("g", "external_step_queue_settings_not_allowed")}),
    ("gate with continuation", [gate("g", allow_continuation=True)], {("g", "external_step_queue_settings_not_allowed")}),
    ("gate with half a timeout", [gate("g", timeout_seconds=1)], {("g", "gate_timeout_incomplete")}),
    ("gate with the other half", [gate("g", on_timeout="FAILED")], {("g", "gate_timeout_incomplete")}),
    ("gate with an odd outcome", [gate("g", timeout_seconds=1, on_timeout="SKIP")], {("g", "gate_timeout_incomplete")}),
    ("job with on_timeout", [step("a", on_timeout="FAILED")], {("a", "gate_timeout_incomplete")}),
    ("typo", [step("a", afer_success=["b"])], {("a", "unknown_field")}),
    ("priority as text", [step("a", priority="high")], {("a", "invalid_field")}),
    ("priority too large", [step("a", priority=2**31)], {("a", "invalid_field")}),
    ("external as text", [{"key": "a", "job_type": "t", "external": "yes"}], {("a", "invalid_field")}),
    ("tenant that is none", [step("a", organization_id="me")], {("a", "invalid_field")}),
    ("dependencies as text", [{"key": "a", "job_type": "t", "after_success": "b"}], {("a", "invalid_field")}),
    ("stage blank", [step("a", stage=" ")], {("a", "invalid_field")}),
    ("fat payload", [step("a", payload="x" * 262_144)], {("a", "payload_refused")}),
    ("cycle", [step("a", "c"), step("b", "a"), step("c", always="b"), step("d", "a")], {("a", "cycle")}),
    ("many at once", [step("a", "x", oops=1, max_attempts=0), gate("a", job_type="t"), step("b", "b")],
     {("a", "missing_dependency"), ("a", "unknown_field"), ("a", "step_max_attempts_non_positive"), ("a", "duplicate_step_key"),
      ("a", "external_step_job_type_not_allowed"), ("b", "self_dependency")}),
]  # fmt: skip


@pytest.mark.parametrize(("steps", "problems"), [p[1:] for p in PROBLEMS], ids=[p[0] for p in PROBLEMS])
def test_every_problem_is_told_and_nothing_written(q: Ledger, steps: list[Any], problems: set[tuple[Any, str]]):
    found = q.rows("validate_workflow", steps=steps)
    if problems == {("a", "cycle")}:
        assert [r["code"] for r in found] == [DAG + "cycle"]
        assert set(found[0]["message"].split(": ")[1].split(" -> ")) == {"a", "b", "c"}
    else:
        assert {(r["step_key"], r["code"].removeprefix(DAG)) for r in found} == problems
    assert all(r["message"] for r in found)
    order = q.db.column("select code from runledger.error_codes()")
    with q.refused(min((r["code"] for r in found), key=order.index), "RL030") as told:
        q.row("enqueue_workflow", workflow_type="w", steps=steps)
    assert {(p["step"], p["code"]) for p in told.detail["problems"]} == {(r["step_key"], r["code"]) for r in found}
    assert told.detail["count"] == len(found)
    assert q.db.value("select count(*) from runledger.workflow_runs") == 0


def test_a_cycle_of_two_modes_and_gates_is_a_cycle(q: Ledger):
    [found] = q.rows("validate_workflow", steps=[gate("g", "b"), step("b", always="c"), step("c", "g"), step("root")])
    assert found["code"] == DAG + "cycle"
    assert "root" not in found["message"]


def test_the_cycle_named_is_one(q: Ledger):
    """Each step of the message waits for the one before it, whatever leads to or from the cycle."""
    rand = random.Random(3)
    for _ in range(40):
        n = rand.randint(2, 12)
        needs = {i: set(rand.sample(range(i), rand.randint(0, min(i, 3)))) for i in range(n)}
        for _ in range(rand.randint(1, 3)):
            needs[rand.randrange(n - 1)].add(n - 1)
        steps = [step(str(i), [str(p) for p in ps if p != i]) for i, ps in needs.items()]
        rand.shuffle(steps)
        found = q.rows("validate_workflow", steps=steps)
        for row in found:
            path = [int(k) for k in row["message"].split(": ")[1].split(" -> ")]
            assert path[0] == path[-1]
            assert all(a in needs[b] for a, b in zip(path, path[1:], strict=False)), (path, needs)
        if not found:
            q.row("enqueue_workflow", workflow_type="w", steps=steps)


@pytest.mark.parametrize("steps", [[], None, {}, "a", 1])
def test_no_steps(q: Ledger, steps: Any):
    for call in ("validate_workflow", "explain_workflow"):
        with q.refused(DAG + "empty", "RL030"):
            q.rows(call, steps=steps)
    with q.refused(DAG + "empty", "RL030"):
        q.row("enqueue_workflow", workflow_type="w", steps=steps)


def test_bad_arguments_are_refused(q: Ledger):
    for told, code in (
        ({"workflow_type": " "}, DAG + "workflow_type_blank"), ({"workflow_type": None}, DAG + "workflow_type_blank"),
        ({"workflow_type": "x" * 201}, DAG + "workflow_type_blank"), ({"idempotency_key": ""}, DAG + "idempotency_key_blank"),
        ({"idempotency_key": "x" * 513}, DAG + "idempotency_key_blank"), ({"active_key": "\n"}, DAG + "active_key_blank"),
        ({"active_key": "x" * 513}, DAG + "active_key_blank"), ({"result_step": "b"}, DAG + "result_step_unknown"),
        ({"result_step": " "}, DAG + "result_step_unknown"), ({"metadata": {"a": "x" * 65_536}}, "json.too_large"),
    ):  # fmt: skip
        with q.refused(code):
            q.row("enqueue_workflow", **{"workflow_type": "w", "steps": [step("a")], **told})
    assert q.db.value("select count(*) from runledger.workflow_runs") == 0


def test_limits_of_steps_and_edges(q: Ledger):
    with q.refused(DAG + "dependency_count_overflow", "RL030"):
        q.rows("validate_workflow", steps=[step(str(i)) for i in range(10_001)])
    wide = [step(str(i)) for i in range(201)]
    with q.refused(DAG + "dependency_count_overflow", "RL030"):
        q.rows("validate_workflow", steps=wide + [step(f"d{i}", [str(j) for j in range(201)]) for i in range(1000)])


def test_odd_keys_are_keys(start: Flows):
    keys = ['a"b', "a'b", "a\\b", "{a}", "a,b", "null", "NULL", "ü\n→", " a", "a ", "%s", "$1"]
    flow = start(*(step(k) for k in keys), step("end", keys))
    assert flow.counters("end") == (len(keys), len(keys), 0)
    flow.succeed(*keys)
    [claimed] = flow.claim()
    assert claimed["inputs"] == {k: {"of": k} for k in keys}
    flow.succeed("end")


def test_the_order_of_steps_is_one_they_can_run_in(start: Flows, q: Ledger):
    rand = random.Random(7)
    steps = [step(f"s{i}", [f"s{j}" for j in rand.sample(range(i), min(i, 4))]) for i in range(60)]
    rand.shuffle(steps)
    flow = start(*steps)
    place = {k: n for n, k in enumerate(flow.states())}
    assert all(place[p] < place[s["key"]] for s in steps for p in s.get("after_success", ()))
    assert [r["ordinal"] for r in q.db.all("select ordinal from runledger.workflow_steps order by ordinal")] == list(
        range(1, 61)
    )
