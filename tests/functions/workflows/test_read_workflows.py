"""Inputs, results, and what people read of runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger


class TestInputs:
    def test_outputs_of_all_prerequisites_by_key(self, start: Flows, q: Ledger):
        flow = start(
            step("ok"),
            step("bad"),
            gate("g"),
            step("none"),
            step("other"),
            step("end", ["ok", "g", "none"], always="bad"),
        )
        flow.succeed("ok", "other")
        flow.fail("bad")
        flow.finish("none")
        flow.complete("g", output=[1, 2])
        [claimed] = flow.claim()
        assert (claimed["step_key"], claimed["workflow_run_id"], claimed["inputs_omitted"]) == ("end", flow.id, False)
        assert claimed["inputs"] == {"ok": {"of": "ok"}, "g": [1, 2], "none": None, "bad": None}
        [known] = q.rows("leased_jobs", worker_id="w1")
        assert known == claimed

    def test_a_root_has_none_and_a_plain_job_has_null(self, start: Flows, q: Ledger):
        flow = start(step("a"))
        plain = q.enqueue()
        claimed = {c["job_id"]: c for c in flow.claim()}
        assert claimed[flow.job_id("a")]["inputs"] == {}
        assert (claimed[plain]["inputs"], claimed[plain]["step_key"]) == (None, None)

    def test_too_many_bytes_are_paged(self, start: Flows, q: Ledger):
        keys = [f"s{i}" for i in range(6)]
        flow = start(*(step(k) for k in keys), step("end", keys))
        for key in keys:
            # Nothing that compresses: the limit is on what is stored.
            flow.finish(
                key,
                output=q.db.value(
                    "select string_agg(md5(i::text || %s), '') from generate_series(1, 7000) as i", [key]
                ),
            )
        [claimed] = flow.claim()
        assert (claimed["inputs"], claimed["inputs_omitted"]) == (None, True)
        lease = flow.lease("end")
        seen: list[str] = []
        pages = 0
        while page := q.rows("step_inputs", **lease, after_key=seen[-1] if seen else None, max_bytes=500_000):
            seen += [r["step_key"] for r in page]
            assert {len(r["output"]) for r in page} == {224_000}
            assert {r["status"] for r in page} == {"SUCCEEDED"}
            pages += 1
        assert (seen, pages) == (keys, 3)
        assert [r["step_key"] for r in q.rows("step_inputs", **lease, max_bytes=1)] == ["s0"]

    def test_only_who_holds_the_lease_reads_them(self, start: Flows, q: Ledger):
        flow = start(gate("g"), step("a", "g"))
        flow.complete("g", output={"SECRET": 1})
        lease = flow.lease("a")
        for told, code in (
            ({**lease, "lease_token": lease["lease_token"] + 1}, "job.lease_owner_mismatch"),
            ({**lease, "lease_token": None}, "job.lease_owner_mismatch"),
            ({**lease, "job_id": NOBODY}, "job.not_found"),
            ({**lease, "max_bytes": 0}, "job.invalid_limit"),
            ({**lease, "max_bytes": None}, "job.invalid_limit"),
        ):
            with q.refused(code):
                q.rows("step_inputs", **told)
        assert q.rows("step_inputs", **lease) == [{"step_key": "g", "status": "SUCCEEDED", "output": {"SECRET": 1}}]
        flow.succeed("a")
        with q.refused("job.lease_owner_mismatch"):
            q.rows("step_inputs", **lease)

    def test_a_retry_gets_them_again(self, start: Flows):
        flow = start(step("a"), step("b", "a"))
        flow.succeed("a")
        first = flow.claim()[0]["inputs"]
        flow.finish("b", "RELEASE", reason="r")
        assert flow.claim()[0]["inputs"] == first == {"a": {"of": "a"}}


class TestResults:
    def result(self, flow: Flow, **told: Any) -> tuple[Any, ...]:
        row = flow.q.row("workflow_result", workflow_run_id=flow.id, **told)
        return row["status"], row["is_finished"], row["result_step_key"], row["result"]

    def test_the_output_of_the_result_step_once_the_run_has_succeeded(self, start: Flows):
        flow = start(step("a"), step("b"), result_step="a")
        flow.succeed("a")
        assert self.result(flow) == ("RUNNING", False, "a", None)
        flow.succeed("b")
        assert self.result(flow) == ("SUCCEEDED", True, "a", {"of": "a"})
        assert flow.q.row("workflow_result", workflow_run_id=flow.id)["finished_at"] == flow.run["finished_at"]

    def test_of_a_gate_and_of_an_appended_run(self, start: Flows):
        flow = start(gate("g"), result_step="g")
        flow.append(step("a"))
        flow.complete("g", output={"approved": True})
        assert self.result(flow)[3] is None
        flow.succeed("a")
        assert self.result(flow) == ("SUCCEEDED", True, "g", {"approved": True})

    def test_none_is_declared_or_there_is_no_output(self, start: Flows):
        silent, undeclared = start(step("a"), result_step="a"), start(step("a"))
        silent.finish("a")
        undeclared.succeed("a")
        assert self.result(silent) == ("SUCCEEDED", True, "a", None)
        assert self.result(undeclared) == ("SUCCEEDED", True, None, None)

    def test_a_run_with_errors_has_no_result(self, start: Flows):
        flow = start(step("a"), step("b"), result_step="a")
        flow.succeed("a")
        flow.fail("b")
        assert self.result(flow) == ("COMPLETED_WITH_ERRORS", True, "a", None)

    def test_a_cancel_after_the_success_keeps_it(self, start: Flows):
        flow = start(step("a"), result_step="a")
        flow.succeed("a")
        flow.cancel()
        assert self.result(flow) == ("SUCCEEDED", True, "a", {"of": "a"})

    def test_other_tenants_see_nothing(self, start: Flows, q: Ledger):
        flow = start(step("a"), organization_id=TENANT)
        assert self.result(flow, organization_id=TENANT)[0] == "RUNNING"
        for call in ("workflow_result", "await_workflow"):
            until = {"until": q.db.value("select now()")} if call == "await_workflow" else {}
            for told in ({"organization_id": OTHER_TENANT}, {"workflow_run_id": NOBODY}):
                with q.refused("workflow.run_not_found", "RL001"):
                    q.row(call, **{"workflow_run_id": flow.id, **until, **told})
        assert flow.run["awaited_until"] is None


class TestWaiting:
    def test_who_waits_is_told_of_the_end_and_of_nothing_else(self, start: Flows, db: Db, q: Ledger):
        awaited, ignored = start(step("a"), step("b", "a")), start(step("a"))
        listener = db.connect()
        listener.execute("listen runledger_run")
        until = db.value("select now() + interval '10 minutes'")
        assert q.row("await_workflow", workflow_run_id=awaited.id, until=until)["is_finished"] is False
        awaited.succeed("a")
        ignored.succeed("a")
        awaited.succeed("b")
        listener.execute("select 1")
        assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == [str(awaited.id)]
        assert list(listener.notifies(timeout=0)) == []
        assert q.row("await_workflow", workflow_run_id=awaited.id, until=until)["is_finished"] is True

    def test_cancel_and_gates_tell_too(self, start: Flows, db: Db, q: Ledger):
        flows = [start(gate("g")), start(gate("g"))]
        listener = db.connect()
        listener.execute("listen runledger_run")
        for flow in flows:
            q.row("await_workflow", workflow_run_id=flow.id, until=db.value("select now() + interval '10 minutes'"))
        flows[0].cancel()
        flows[1].complete("g")
        listener.execute("select 1")
        assert {n.payload for n in listener.notifies(timeout=10, stop_after=2)} == {str(f.id) for f in flows}

    def test_the_longest_wait_counts_and_a_shorter_one_writes_nothing(self, start: Flows, db: Db, q: Ledger):
        flow = start(gate("g"))
        now = db.value("select now()")
        for minutes, kept in ((10, 10), (5, 10), (20, 20)):
            q.row("await_workflow", workflow_run_id=flow.id, until=now + timedelta(minutes=minutes))
            assert flow.run["awaited_until"] == now + timedelta(minutes=kept)
        for until in (None, now + timedelta(hours=3)):
            with q.refused("worker.invalid_idle_time", "RL010"):
                q.row("await_workflow", workflow_run_id=flow.id, until=until)


class TestPlans:
    def test_levels_handlers_and_workers(self, q: Ledger):
        for job_type in ("off", "held"):
            q.define(job_type)
        q.row("disable_job_type", job_type="off")
        q.row("pause_job_type", job_type="held")
        q.rows("register_worker", worker_id="w1", job_types=["t", "held"])
        q.rows("register_worker", worker_id="w2", job_types=["t"])
        plan = q.rows("explain_workflow", steps=[
            step("d", ["b", "c"], job_type="nobody"), step("a"), step("b", "a", job_type="off"), gate("c"), step("e", always="a", job_type="held"),
        ])  # fmt: skip
        assert [(p["level"], p["step_key"], p["handler"], p["workers"]) for p in plan] == [
            (0, "a", "DEFINED", 2), (0, "c", "EXTERNAL", 0), (1, "b", "DISABLED", 0), (1, "e", "PAUSED", 1), (2, "d", "UNKNOWN", 0),
        ]  # fmt: skip
        assert {p["step_key"]: p["waits_for"] for p in plan} == {
            "a": [],
            "c": [],
            "b": ["a"],
            "e": ["a"],
            "d": ["b", "c"],
        }
        assert q.db.value("select count(*) from runledger.workflow_runs") == 0

    def test_what_cannot_run_is_refused(self, q: Ledger):
        with q.refused("workflow.invalid_dag_missing_dependency", "RL030"):
            q.rows("explain_workflow", steps=[step("a", "b")])


def lines(q: Ledger, flow: Flow) -> list[str]:
    return [next(iter(r.values())) for r in q.rows("workflow_tree", workflow_run_id=flow.id)]


def test_the_tree_tells_state_attempt_and_what_is_waited_for(start: Flows, q: Ledger):
    flow = start(
        step("crawl"),
        step("score", "crawl"),
        gate("approve", "score"),
        step("publish", ["approve", "crawl"]),
        workflow_type="research",
    )
    head, crawl, score, approve, publish = lines(q, flow)
    assert head.split()[:6] == ["research", "RUNNING", "0/4", "done,", "0", "failed"]
    assert crawl.split()[:4] == ["crawl", "ENQUEUED", "attempt", "0/8"]
    assert score.startswith("    score")
    assert score.endswith("waits for crawl")
    assert approve.endswith("waits for score")
    assert publish.startswith("        publish")
    assert publish.endswith("waits for crawl, approve")
    flow.fail("crawl")
    tree = lines(q, flow)
    assert "COMPLETED_WITH_ERRORS" in tree[0]
    assert "FAILED" in tree[1]
    assert "(workflow.dependency_unsatisfied)" in tree[2]
    with q.refused("workflow.run_not_found", "RL001"):
        q.rows("workflow_tree", workflow_run_id=NOBODY)


def test_a_tenant_sees_its_own_run_and_of_it_its_own_steps(start: Flows, q: Ledger):
    ours, theirs = TENANT, OTHER_TENANT
    flow = start(
        step("mine", organization_id=str(ours)),
        step("hidden", organization_id=str(theirs)),
        step("last", ["mine", "hidden"], organization_id=str(ours)),
        organization_id=ours,
    )
    scope = {"workflow_run_id": flow.id, "organization_id": ours}
    tree = [next(iter(r.values())) for r in q.rows("workflow_tree", **scope)]
    assert [line.split()[0] for line in tree[1:]] == ["mine", "last"]
    assert tree[2].endswith("waits for mine, a step of another tenant")
    chart = q.row("workflow_mermaid", **scope)["workflow_mermaid"]
    assert "hidden" not in chart
    assert [line for line in chart.splitlines() if "-->" in line] == ["  s1 --> s3"]
    for call in ("workflow_tree", "workflow_mermaid"):
        with q.refused("workflow.run_not_found", "RL001"):
            q.rows(call, workflow_run_id=flow.id, organization_id=theirs)


def test_deep_and_long_keys_are_told_in_full(start: Flows, q: Ledger):
    keys = [f"step_number_{i}" for i in range(30)] + ["x" * 60]
    flow = start(*(step(k, keys[i - 1] if i else ()) for i, k in enumerate(keys)))
    told = lines(q, flow)[1:]
    assert [line.split()[0] for line in told] == keys
    indents = [len(line) - len(line.lstrip()) for line in told]
    assert indents == [2 * min(i, 20) + 2 for i in range(31)]


def test_the_mermaid_chart(start: Flows, q: Ledger):
    flow = start(step('a"<b>&'), gate("g"), step("c", 'a"<b>&', always="g"))
    chart = q.row("workflow_mermaid", workflow_run_id=flow.id)["workflow_mermaid"].splitlines()
    assert chart[:6] == [
        "flowchart TD", """  s1["a'b"]:::enqueued""", '  s2{{"g"}}:::waiting_for_external', '  s3["c"]:::blocked',
        "  s1 --> s3", "  s2 -.-> s3",
    ]  # fmt: skip
    styles = {line.split()[1] for line in chart if "classDef" in line}
    assert styles == {s.lower() for s in q.db.column("select unnest(enum_range(null::runledger.step_status))::text")}
    with q.refused("workflow.run_not_found", "RL001"):
        q.row("workflow_mermaid", workflow_run_id=NOBODY)


def test_a_key_of_several_lines_stays_in_its_line_of_the_chart(start: Flows, q: Ledger):
    flow = start(step("a\nb"), step("end", "a\nb"))
    chart = q.row("workflow_mermaid", workflow_run_id=flow.id)["workflow_mermaid"].splitlines()
    assert chart[1] == '  s1["a b"]:::enqueued'
    assert [line for line in lines(q, flow) if "\n" in line] == []


def test_the_views(start: Flows, q: Ledger, db: Db):
    flow = start(step("a"), gate("g"), step("b", "a"), workflow_type="research")
    flow.fail("a")
    [run] = db.all("select * from runledger.workflows")
    run.pop("age")
    assert run == {
        "workflow_run_id": flow.id,
        "workflow_type": "research",
        "status": "WAITING_FOR_EXTERNAL",
        "done": "0/3",
        "failed": 2,
        "gates": 1,
    }
    steps = {s["step_key"]: s for s in db.all("select * from runledger.workflow_step_status")}
    assert [(s["job_type"], s["status"], s["waits_for"], s["attempt"], s["error"]) for s in (steps["a"], steps["g"], steps["b"])] == [
        ("t", "FAILED", 0, "1/8", "e.x"), ("(gate)", "WAITING_FOR_EXTERNAL", 0, None, None),
        ("t", "CANCELED", 0, None, "workflow.dependency_unsa"),
    ]  # fmt: skip


def test_one_run_in_full(start: Flows, q: Ledger):
    flow = start(
        step("a"), organization_id=TENANT, idempotency_key="i", active_key="k", metadata={"m": 1}, result_step="a", workflow_type="x",
    )  # fmt: skip
    flow.succeed("a")
    row = q.row("get_workflow", workflow_run_id=flow.id)
    stored = flow.run
    assert row == {"workflow_run_id": flow.id, **{n: stored[n] for n in row if n != "workflow_run_id"}}
    assert (row["status"], row["result"], row["metadata"], row["organization_id"]) == (
        "SUCCEEDED",
        {"of": "a"},
        {"m": 1},
        TENANT,
    )
    assert q.row("get_workflow", workflow_run_id=flow.id, organization_id=TENANT) == row
    assert q.rows("get_workflow", workflow_run_id=flow.id, organization_id=OTHER_TENANT) == []
    assert q.rows("get_workflow", workflow_run_id=NOBODY) == []


def test_lists_filter_and_page(start: Flows, q: Ledger, db: Db):
    flows = [
        start(step("a"), workflow_type="x" if i % 2 else "y", organization_id=TENANT if i < 3 else None)
        for i in range(6)
    ]
    flows[0].cancel()

    def listed(**told: Any) -> list[int]:
        ids = [f.id for f in flows]
        return [ids.index(r["workflow_run_id"]) for r in q.rows("list_workflows", **told)]

    assert listed() == [5, 4, 3, 2, 1, 0]
    assert listed(workflow_type="x") == [5, 3, 1]
    assert listed(workflow_type="x", organization_id=TENANT) == [1]
    assert listed(status="CANCELED") == [0]
    for status in ("WAITING_FOR_EXTERNAL", "SUCCEEDED", "COMPLETED_WITH_ERRORS"):
        assert listed(status=status) == []
    assert listed(status="RUNNING", workflow_type="y") == [4, 2]
    assert listed(max_rows=2, before_id=flows[4].id) == [3, 2]
    created = [f.run["created_at"] for f in flows]
    assert listed(created_after=created[1], created_before=created[4]) == [3, 2]
    assert listed(organization_id=OTHER_TENANT) == []
    for told, code in (
        ({"status": "DONE"}, "workflow.invalid_status"),
        ({"max_rows": 0}, "job.invalid_pagination"),
        ({"max_rows": None}, "job.invalid_pagination"),
    ):
        with q.refused(code, "RL010"):
            q.rows("list_workflows", **told)


@pytest.mark.parametrize("call", ["get_workflow", "list_workflows", "workflow_result", "workflow_tree", "workflow_mermaid", "validate_workflow",
                                  "explain_workflow", "step_inputs"])  # fmt: skip
def test_reads_work_in_a_read_only_transaction(start: Flows, q: Ledger, call: str):
    flow = start(gate("g"), step("a", "g"))
    flow.complete("g")
    told = {
        "list_workflows": {}, "validate_workflow": {"steps": [step("a")]}, "explain_workflow": {"steps": [step("a")]},
        "step_inputs": flow.lease("a"),
    }.get(call, {"workflow_run_id": flow.id})  # fmt: skip
    with q.conn.transaction():
        q.conn.execute("set transaction read only")
        rows = q.rows(call, **told)
    assert (call == "validate_workflow") == (rows == [])
