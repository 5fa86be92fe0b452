"""enqueue_workflow and validate_workflow: what is written, what is refused and how it is told."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.flows import Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger, Raw

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
        assert told.detail == {"code": told.code, "workflow_run_id": str(flow.id), "status": "RUNNING"}
        assert flow.snapshot() == before

    def test_tenants_types_and_keys_are_apart(self, start: Flows, q: Ledger):
        told: list[dict[str, Any]] = [
            {"workflow_type": w, "organization_id": o, "idempotency_key": k}
            for w in "vw" for o in (None, TENANT, OTHER_TENANT) for k in "kl"
        ]  # fmt: skip
        for order in (told, told[::-1]):
            ids = [start(step("a"), **t).id for t in order]
            assert len(set(ids)) == len(told)
            for t, run_id in zip(order, ids, strict=True):
                row = q.row("enqueue_workflow", steps=[step("a")], **t)
                assert row == {"workflow_run_id": run_id, "disposition": "EXISTING", "status": "RUNNING"}
                found = q.row("find_workflow", **t)
                assert (found["workflow_run_id"], found["organization_id"]) == (run_id, t["organization_id"])
                key = [t["workflow_type"], t["organization_id"], t["idempotency_key"]]
                assert q.db.value("select runledger._run_of_key(%s, %s, %s)", key) == run_id
            for nobody in ({"workflow_type": "z"}, {"organization_id": NOBODY}, {"idempotency_key": "z"}):
                other = {**order[0], **nobody}
                assert q.rows("find_workflow", **other) == []
                assert q.db.value("select runledger._run_of_key(%(workflow_type)s, %(organization_id)s, %(idempotency_key)s)", other) is None
            q.db.execute("update runledger.workflow_runs set idempotency_key = null, enqueue_request = null")

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
    assert_told_alike(q, steps, found)
    assert q.db.value("select count(*) from runledger.workflow_runs") == 0


def assert_told_alike(q: Ledger, steps: list[Any], found: list[dict[str, Any]]) -> None:
    """In the order of the list, each with the message of its code; an enqueue tells the same, under the first code there is."""
    codes = q.db.all("select code, message from runledger.error_codes()")
    messages = {c["code"]: c["message"] for c in codes}
    if found[0]["code"] != DAG + "cycle":
        assert [r["message"] for r in found] == [messages[r["code"]] for r in found]
    assert found == sorted(found, key=lambda r: (r["ordinal"], r["code"]))
    for row in found:
        given = steps[row["ordinal"] - 1]
        key = given.get("key") if isinstance(given, dict) else None
        assert row["step_key"] == (key[:200] if isinstance(key, str) else None)
    first = min((r["code"] for r in found), key=list(messages).index)
    with q.refused(first, "RL030") as told:
        q.row("enqueue_workflow", workflow_type="w", steps=steps)
    problems = [{"step" if k == "step_key" else k: v for k, v in r.items()} for r in found]
    assert told.detail == {"code": first, "count": len(found), "problems": problems[:100]}


# A field of a step, values that are taken, values that are refused, and the code of that.
FIELDS: list[tuple[str, list[Any], list[Any], str]] = [
    ("key", ["x", "x" * 200, "é" * 100, " x "], [None, "", " \t", "x" * 201, "é" * 101, 1, [], True], "step_key_blank"),
    ("job_type", ["x" * 200], [None, "", "\n", "x" * 201, 7, {}], "job_type_blank"),
    ("max_attempts", [1, 10_000, None], [0, -1, 10_001, "1", 1.5, [], 2**31], "step_max_attempts_non_positive"),
    ("timeout_seconds", [1, 2_592_000, None], [0, -1, 2_592_001, "1", 1.5, {}], "step_timeout_seconds_non_positive"),
    ("priority", [0, -(2**31), 2**31 - 1, None], [2**31, -(2**31) - 1, "1", 0.5, [], True], "invalid_field"),
    ("organization_id", [str(TENANT), None], ["", "x", 1, [], False], "invalid_field"),
    ("stage", ["s", "x" * 200, None], ["", " ", "x" * 201, 1, {}], "invalid_field"),
    ("external", [False, None], ["true", 1, [], {}], "invalid_field"),
    ("allow_continuation", [True, False, None], ["true", 0, []], "invalid_field"),
    ("after_success", [[], None, ["p"]], ["p", 1, {}, [1], [["p"]], [None]], "invalid_field"),
    ("after_terminal", [[], None, ["p"]], ["p", 1, {}, [1], True], "invalid_field"),
    ("after_success", [], [["q"]], "missing_dependency"),
    ("after_terminal", [], [["q"]], "missing_dependency"),
    ("after_success", [], [[""], [" \n"]], "dependency_step_key_blank"),
    ("on_timeout", [None], ["FAILED"], "gate_timeout_incomplete"),
    ("payload", [None, 1, [], "x" * 262_000], ["x" * 262_143], "payload_refused"),
    ("Payload", [None], [1, {}], "unknown_field"),
]  # fmt: skip
GATE_FIELDS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, []),
    *[({"timeout_seconds": 1, "on_timeout": word}, []) for word in ("SUCCEEDED", "FAILED", "CANCELED")],
    *[({"timeout_seconds": 1, "on_timeout": word}, ["gate_timeout_incomplete"]) for word in ("", "failed", "BLOCKED")],
    ({"timeout_seconds": 1, "on_timeout": 1}, ["invalid_field"]),
    ({"timeout_seconds": 1}, ["gate_timeout_incomplete"]),
    ({"on_timeout": "FAILED"}, ["gate_timeout_incomplete"]),
    ({"timeout_seconds": 0, "on_timeout": "FAILED"}, ["step_timeout_seconds_non_positive"]),
    ({"job_type": "t"}, ["external_step_job_type_not_allowed"]),
    *[({name: value}, ["external_step_queue_settings_not_allowed"])
      for name, value in (("priority", 1), ("max_attempts", 1), ("stage", "s"), ("allow_continuation", False))],
    *[({name: None}, []) for name in ("job_type", "priority", "max_attempts", "stage", "allow_continuation", "timeout_seconds", "on_timeout")],
    ({"external": "true"}, ["invalid_field", "job_type_blank"]),
]  # fmt: skip


def test_each_field_up_to_its_bounds(q: Ledger):
    for name, good, bad, code in FIELDS:
        given = [step("p"), step("a")]
        for value in good:
            given[1][name] = value
            assert q.rows("validate_workflow", steps=given) == [], (name, str(value)[:50])
        for value in bad:
            given[1][name] = value
            found = q.rows("validate_workflow", steps=given)
            assert [(r["ordinal"], r["code"]) for r in found] == [(2, DAG + code)], (name, str(value)[:50])
            assert_told_alike(q, given, found)
    for given_of_gate, codes in GATE_FIELDS:
        found = q.rows("validate_workflow", steps=[{**gate("g"), **given_of_gate}])
        assert [r["code"].removeprefix(DAG) for r in found] == codes, given_of_gate


def test_of_many_problems_a_hundred_are_told_in_an_error(q: Ledger):
    steps = [step(f"s{n}", priority="high", max_attempts=0) for n in range(51)]
    found = q.rows("validate_workflow", steps=steps)
    assert [(r["ordinal"], r["code"].removeprefix(DAG)) for r in found] == [
        (n, code) for n in range(1, 52) for code in ("invalid_field", "step_max_attempts_non_positive")
    ]
    assert_told_alike(q, steps, found)
    types = [f"no{n:03}" for n in range(102)]
    for count in (1, 100, 101):
        with q.refused("workflow.definition_not_found_or_disabled") as told:
            q.row("enqueue_workflow", workflow_type="w", steps=[step(t, job_type=t) for t in types[:count]] + [step("z"), gate("g")])
        assert told.detail == {"code": "workflow.definition_not_found_or_disabled", "job_types": types[:count][:100]}
    with q.refused("workflow.definition_not_found_or_disabled") as told:
        q.row("enqueue_workflow", workflow_type="w", steps=[step("a", job_type="é" * 100)])
    assert told.detail["job_types"] == ["é" * 100]


def test_the_problems_of_several_steps_in_their_order(q: Ledger):
    steps: list[Any] = [
        step("a", ["a", "b", "b", ""]), gate("a", "c"), 5, step("c", "x", always=["x", "a"]), step("b", stage=1, oops=2), step("c"),
    ]  # fmt: skip
    found = q.rows("validate_workflow", steps=steps)
    assert [(r["ordinal"], r["step_key"], r["code"].removeprefix(DAG)) for r in found] == [
        (1, "a", "dependency_step_key_blank"), (1, "a", "duplicate_dependency"), (1, "a", "self_dependency"),
        (2, "a", "duplicate_step_key"), (3, None, "step_not_an_object"),
        (4, "c", "duplicate_dependency"), (4, "c", "missing_dependency"), (5, "b", "invalid_field"), (5, "b", "unknown_field"),
        (6, "c", "duplicate_step_key"),
    ]  # fmt: skip
    assert_told_alike(q, steps, found)


def test_a_long_cycle_is_cut(q: Ledger):
    for size in (1, 2, 19, 20, 21, 22):
        keys = [f"{n:02}" + "k" * 70 for n in range(size + 1)]
        # One of each goes in and one comes out, which are on no cycle.
        steps = [step("in"), *(step(k, [keys[(n - 1) % (size + 1)], "in"]) for n, k in enumerate(keys)), step("out", keys[0])]
        [found] = q.rows("validate_workflow", steps=steps)
        assert found["code"] == DAG + "cycle"
        head, _, path = found["message"].partition(": ")
        assert head == "steps wait for each other in a circle"
        assert path.endswith(" (cut)") == (size + 1 > 20)
        told = path.removesuffix(" (cut)").split(" -> ")
        assert all(len(k) == 60 for k in told)
        assert len(told) == min(size + 1, 20) + 1
        assert told[0] == told[-1] == steps[found["ordinal"] - 1]["key"][:60] == found["step_key"][:60]
        places = [int(k[:2]) for k in told]
        assert all(b == (a + 1) % (size + 1) for a, b in itertools.pairwise(places[:-1]))


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
        ({"metadata": "x" * 65_535}, "json.too_large"), ({"steps": [step("a")] * 10_001}, DAG + "dependency_count_overflow"),
        ({"idempotency_key": "x" * 513}, DAG + "idempotency_key_blank"), ({"active_key": "\n"}, DAG + "active_key_blank"),
        ({"active_key": "x" * 513}, DAG + "active_key_blank"), ({"result_step": "b"}, DAG + "result_step_unknown"),
        ({"result_step": " "}, DAG + "result_step_unknown"), ({"metadata": {"a": "x" * 65_536}}, "json.too_large"),
    ):  # fmt: skip
        with q.refused(code):
            q.row("enqueue_workflow", **{"workflow_type": "w", "steps": [step("a")], **told})
    assert q.db.value("select count(*) from runledger.workflow_runs") == 0
    largest = {"workflow_type": "x" * 200, "metadata": "x" * 65_000, "idempotency_key": "x" * 512, "active_key": "y" * 512}
    assert q.row("enqueue_workflow", steps=[step("a")], result_step="a", **largest)["disposition"] == "INSERTED"


def test_limits_of_steps_and_edges(q: Ledger):
    with q.refused(DAG + "dependency_count_overflow", "RL030") as told:
        q.rows("validate_workflow", steps=[step(str(i)) for i in range(10_001)])
    assert told.detail == {"code": told.code, "max_steps": 10_000, "max_bytes": 33_554_432}
    count = "select cardinality(runledger._decode_steps(%s))"
    assert q.db.value(count, [Jsonb([step(str(i)) for i in range(10_000)])]) == 10_000
    # They need not lead anywhere to be counted.
    wide = [step(f"d{i}", [str(i)] * 10_000, always=["x"] * 10_000) for i in range(10)]
    assert q.db.value(count, [Jsonb(wide)]) == 10
    wide[3]["after_terminal"].append("y")
    with q.refused(DAG + "dependency_count_overflow", "RL030") as told:
        q.rows("validate_workflow", steps=wide)
    assert told.detail == {"code": told.code, "max_edges": 200_000}


def test_odd_keys_are_keys(start: Flows):
    keys = ['a"b', "a'b", "a\\b", "{a}", "a,b", "null", "NULL", "ü\n→", " a", "a ", "%s", "$1"]
    flow = start(*(step(k) for k in keys), step("end", keys))
    assert flow.counters("end") == (len(keys), len(keys), 0)
    flow.succeed(*keys)
    [claimed] = flow.claim()
    assert claimed["inputs"] == {k: {"of": k} for k in keys}
    flow.succeed("end")


def taken_in_turn(needs: dict[str, list[str]]) -> dict[str, int]:
    """The steps in the order in which they are taken, each with its level: as soon as all it needs is taken, first come first served."""
    waiting = {key: set(some) for key, some in needs.items()}
    level = {key: 0 for key, some in needs.items() if not some}
    taken = list(level)
    for key in taken:
        for other, some in waiting.items():
            if key in some:
                some.remove(key)
                level[other] = max(level.get(other, 0), level[key] + 1)
                if not some:
                    taken.append(other)
    return {key: level[key] for key in taken}


def test_steps_are_taken_in_turn(start: Flows, q: Ledger):
    rand = random.Random(11)
    for size in (1, 2, 3, 5, 9, 14, 30, 104):
        names = [f"s{n}" for n in rand.sample(range(size), size)]
        needs = {k: rand.sample(names[:n], rand.randint(0, min(n, 3))) for n, k in enumerate(names)}
        needs = {k: needs[k] for k in rand.sample(names, size)}
        steps = [step(k, some[:1], always=some[1:]) for k, some in needs.items()]
        right = taken_in_turn(needs)
        plan = q.rows("explain_workflow", steps=steps)
        assert [(p["step_key"], p["level"]) for p in plan] == sorted(right.items(), key=lambda item: item[1])
        assert {p["step_key"]: p["waits_for"] for p in plan} == needs
        flow = start(*steps)
        assert list(flow.states()) == list(right)
        flow.cancel()


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
