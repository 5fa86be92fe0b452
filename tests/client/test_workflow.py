"""Workflows through both clients, on a real database: the builder's document and every workflow function."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import runledger
from runledger import Workflow, _calls
from runledger.types import AppendedStep, CanceledWorkflow, CompletedStep, EnqueuedWorkflow, StepInput
from tests.client.conftest import Driver
from tests.support.database import Db

TENANT = UUID("00000000-0000-7000-8000-000000000007")
OTHER = UUID("00000000-0000-7000-8000-000000000008")


@pytest.fixture(autouse=True)
def types(client: Any) -> None:
    for job_type in ("crawl.page", "profile.score", "sweep"):
        client.define_job(job_type)


def research(**settings: Any) -> Workflow:
    """crawl -> (approve) -> score, and a clean-up whatever becomes of score."""
    wf = Workflow("profiles.research", result_step="score", **settings)
    crawl = wf.job("crawl", "crawl.page", payload={"url": "https://example.org"}, priority=5)
    approve = wf.gate("approve", after=crawl)
    score = wf.job("score", "profile.score", after=[crawl, approve])
    wf.job("sweep", "sweep", after_terminal=score)
    return wf


def work(client: Any, job_type: str, output: Any = None) -> Any:
    """Claim the one job of that type and let it succeed."""
    (job,) = client.claim_jobs("w1", [job_type])
    client.succeed_job(job.job_id, job.lease_token, output=output)
    return job


def steps(db: Db, run_id: UUID) -> dict[str, str]:
    rows = db.all("select step_key, status::text from runledger.workflow_steps where workflow_run_id = %s", [run_id])
    return {row["step_key"]: row["status"] for row in rows}


# --- the builder ----------------------------------------------------------------------------------


def test_the_builder_makes_the_document_that_one_would_write():
    assert research().steps == [
        {"key": "crawl", "job_type": "crawl.page", "payload": {"url": "https://example.org"}, "priority": 5},
        {"key": "approve", "external": True, "after_success": ["crawl"]},
        {"key": "score", "job_type": "profile.score", "after_success": ["crawl", "approve"]},
        {"key": "sweep", "job_type": "sweep", "after_terminal": ["score"]},
    ]


def test_every_setting_reaches_its_field(client: Any, db: Db):
    wf = Workflow("w", organization_id=TENANT)
    wf.job("a", "sweep", payload=[])
    wf.gate("g", payload={"ask": "Ann"}, timeout=timedelta(hours=1), on_timeout="FAILED", after=("a",))
    wf.job(
        "b",
        "sweep",
        payload={"n": 0},
        after=iter(["a"]),
        after_terminal={"g": 1},
        priority=0,
        max_attempts=2,
        timeout=timedelta(minutes=2),
        stage="second",
        organization_id=OTHER,
        allow_continuation=True,
    )
    run_id = client.enqueue_workflow(wf).workflow_run_id
    rows = {r["step_key"]: r for r in db.all("select * from runledger.workflow_steps")}
    a, g, b = rows["a"], rows["g"], rows["b"]
    assert (a["payload"], a["organization_id"], a["workflow_run_id"]) == ([], TENANT, run_id)
    assert (g["execution_kind"], g["payload"]) == ("EXTERNAL", {"ask": "Ann"})
    assert (b["payload"], b["priority"], b["max_attempts"], b["timeout_seconds"]) == ({"n": 0}, 0, 2, 120)
    assert (b["stage"], b["organization_id"], b["allow_continuation"]) == ("second", OTHER, True)
    assert wf.steps[1]["on_timeout"] == "FAILED"
    edges = db.all(
        "select p.step_key as before, d.step_key as after, e.release_mode::text as mode"
        "  from runledger.workflow_step_dependencies e"
        "  join runledger.workflow_steps p on p.id = e.prerequisite_step_id"
        "  join runledger.workflow_steps d on d.id = e.dependent_step_id order by 1, 2"
    )
    assert [tuple(e.values()) for e in edges] == [
        ("a", "b", "ON_SUCCESS"),
        ("a", "g", "ON_SUCCESS"),
        ("g", "b", "ON_TERMINAL"),
    ]


def test_a_builder_and_the_plain_form_are_one_request(client: Any):
    wf = research(idempotency_key="k1", metadata={"by": "me"}, organization_id=TENANT)
    built = client.enqueue_workflow(wf)
    plain = client.enqueue_workflow(
        "profiles.research",
        [dict(step) for step in wf.steps],
        result_step="score",
        metadata={"by": "me"},
        organization_id=TENANT,
        idempotency_key="k1",
    )
    assert built == EnqueuedWorkflow(built.workflow_run_id, "INSERTED", "RUNNING")
    assert plain == EnqueuedWorkflow(built.workflow_run_id, "EXISTING", "RUNNING")
    as_steps = client.enqueue_workflow("profiles.research", wf)
    assert as_steps.workflow_run_id == built.workflow_run_id, "what the builder says beside the steps counts too"


def test_what_is_given_to_the_call_goes_before_what_the_builder_says(client: Any):
    wf = research(idempotency_key="k1", active_key="a1")
    run = client.enqueue_workflow(wf, idempotency_key="k2", metadata={"n": 1}, result_step="crawl")
    record = client.get_workflow(run.workflow_run_id)
    assert (record.idempotency_key, record.metadata, record.result_step_key) == ("k2", {"n": 1}, "crawl")
    assert (record.workflow_type, record.active_key, wf.result_step) == ("profiles.research", "a1", "score")
    with pytest.raises(runledger.IdempotencyConflict):
        client.enqueue_workflow(wf, idempotency_key="k2")


def test_the_builder_leaves_judging_to_the_database(client: Any, db: Db):
    wf = Workflow("")
    wf.job("a", "", after=["a", "b", "b"], max_attempts=0)
    wf.job("a", "sweep", payload="x" * 300_000)
    wf.gate("", timeout=5)
    with pytest.raises(runledger.InvalidWorkflow) as caught:
        client.enqueue_workflow(wf)
    assert caught.value.code == "workflow.invalid_dag_workflow_type_blank"
    assert caught.value.problems == []
    with pytest.raises(runledger.InvalidWorkflow) as caught:
        client.enqueue_workflow("w", wf)
    problems = caught.value.problems
    assert caught.value.detail["count"] == len(problems) >= 7
    assert problems == [
        {"ordinal": p.ordinal, "step": p.step_key, "code": p.code, "message": p.message}
        for p in client.validate_workflow(wf)
    ]
    assert {p["code"].removeprefix("workflow.invalid_dag_") for p in problems} >= {
        "job_type_blank", "self_dependency", "missing_dependency", "duplicate_dependency", "duplicate_step_key",
        "step_max_attempts_non_positive", "payload_refused", "step_key_blank", "gate_timeout_incomplete",
    }  # fmt: skip
    assert db.value("select count(*) from runledger.workflow_runs") == 0


@pytest.mark.parametrize("nothing", [(), [], None])
def test_a_workflow_without_steps_is_refused_by_the_database(client: Any, nothing: Any):
    with pytest.raises(runledger.InvalidWorkflow) as caught:
        client.enqueue_workflow("w", nothing)
    assert caught.value.code == "workflow.invalid_dag_empty"
    with pytest.raises(runledger.InvalidWorkflow):
        client.enqueue_workflow(Workflow("w"))


def test_steps_that_cannot_be_sent_are_refused_by_name():
    for wrong in ("hunter2", {"hunter2": 1}, 7, [{"key": "a", "payload": {"hunter2"}}]):
        with pytest.raises(runledger.InvalidArgument) as caught:
            _calls.enqueue_workflow("w", wrong)
        assert caught.value.detail == {"argument": "steps"}
        assert "hunter2" not in f"{caught.value}"
    with pytest.raises(runledger.InvalidArgument) as caught:
        _calls.enqueue_workflow(7, [])
    assert caught.value.detail == {"argument": "workflow_type"}
    with pytest.raises(TypeError):
        Workflow("w").job("a", "t", after=7)


# --- the functions --------------------------------------------------------------------------------


def test_a_run_from_its_start_to_its_result(client: Any, db: Db):
    wf = research(organization_id=TENANT)
    assert client.validate_workflow(wf) == []
    run_id = client.enqueue_workflow(wf).workflow_run_id
    crawled = work(client, "crawl.page", {"links": 3})
    assert (crawled.payload, crawled.priority, crawled.step_key, crawled.workflow_run_id) == (
        {"url": "https://example.org"}, 5, "crawl", run_id,
    )  # fmt: skip
    assert steps(db, run_id) == {
        "crawl": "SUCCEEDED", "approve": "WAITING_FOR_EXTERNAL", "score": "BLOCKED", "sweep": "BLOCKED",
    }  # fmt: skip
    done = client.complete_external_step(run_id, "approve", output={"by": "ann"}, reason="fine", organization_id=TENANT)
    assert done == CompletedStep(run_id, "approve", "SUCCEEDED", False, "RUNNING")
    again = client.complete_external_step(run_id, "approve", output={"by": "ann"}, reason="fine")
    assert again == CompletedStep(run_id, "approve", "SUCCEEDED", True, "RUNNING")
    (job,) = client.claim_jobs("w1", ["profile.score"])
    assert job.inputs == {"crawl": {"links": 3}, "approve": {"by": "ann"}}
    inputs = client.step_inputs(job.job_id, job.lease_token)
    assert inputs == [StepInput("approve", "SUCCEEDED", {"by": "ann"}), StepInput("crawl", "SUCCEEDED", {"links": 3})]
    assert client.step_inputs(job.job_id, job.lease_token, max_bytes=1) == inputs[:1]
    assert client.step_inputs(job.job_id, job.lease_token, after_key="approve", max_bytes=1) == inputs[1:]
    client.succeed_job(job.job_id, job.lease_token, output={"score": 7})
    assert not client.workflow_result(run_id).is_finished
    work(client, "sweep")
    outcome = client.workflow_result(run_id, TENANT)
    assert (outcome.status, outcome.is_finished, outcome.result_step_key) == ("SUCCEEDED", True, "score")
    assert outcome.result == {"score": 7}
    assert outcome.finished_at is not None
    record = client.get_workflow(run_id)
    assert (record.status, record.result, record.steps_total, record.steps_succeeded) == (
        "SUCCEEDED", {"score": 7}, 4, 4,
    )  # fmt: skip


def test_a_failed_gate_carries_its_error(client: Any, db: Db):
    wf = Workflow("w")
    wf.job("after", "sweep", after=wf.gate("g"))
    run_id = client.enqueue_workflow(wf).workflow_run_id
    failed = client.complete_external_step(
        run_id, "g", outcome="FAILED", reason="late", error_code="review.refused", error_message="no"
    )
    assert (failed.status, failed.run_status) == ("FAILED", "COMPLETED_WITH_ERRORS")
    gate = db.one("select * from runledger.workflow_steps where step_key = 'g'")
    assert (gate["status_reason"], gate["last_error_code"]) == ("late", "review.refused")
    assert steps(db, run_id) == {"g": "FAILED", "after": "CANCELED"}


def test_a_plan_is_explained_without_starting_it(client: Any, db: Db):
    client.register_worker("w1", ["crawl.page"])
    client.pause_job_type("sweep")
    wf = research()
    wf.job("odd", "no.such.type", after="crawl")
    plan = {p.step_key: (p.level, p.job_type, p.waits_for, p.handler, p.workers) for p in client.explain_workflow(wf)}
    assert plan == {
        "crawl": (0, "crawl.page", [], "DEFINED", 1),
        "approve": (1, None, ["crawl"], "EXTERNAL", 0),
        "odd": (1, "no.such.type", ["crawl"], "UNKNOWN", 0),
        "score": (2, "profile.score", ["crawl", "approve"], "DEFINED", 0),
        "sweep": (3, "sweep", ["score"], "PAUSED", 0),
    }
    assert db.value("select count(*) from runledger.workflow_runs") == 0
    with pytest.raises(runledger.DefinitionUnavailable):
        client.enqueue_workflow(wf)


def test_steps_are_appended_once_while_a_gate_is_open(client: Any, db: Db):
    run_id = client.enqueue_workflow(research()).workflow_run_id
    work(client, "crawl.page", {"links": 1})
    more = Workflow()
    more.job("retry", "sweep", after=more.job("deep", "crawl.page", payload={"depth": 2}, after="crawl"))
    settings = {"append_window": "approve", "steps": more, "metadata": {"why": "more links"}}
    appended = client.append_workflow_steps(run_id, "m1", **settings)
    assert appended == [
        AppendedStep(run_id, "deep", "ENQUEUED", "APPENDED"),
        AppendedStep(run_id, "retry", "BLOCKED", "APPENDED"),
    ]
    work(client, "crawl.page")
    client.complete_external_step(run_id, "approve")
    again = client.append_workflow_steps(run_id, "m1", append_window="approve", steps=list(more.steps))
    assert [(a.status, a.disposition) for a in again] == [
        ("SUCCEEDED", "ALREADY_APPLIED"), ("ENQUEUED", "ALREADY_APPLIED"),
    ]  # fmt: skip
    with pytest.raises(runledger.InvalidState) as caught:
        client.append_workflow_steps(run_id, "m2", **settings)
    assert caught.value.code == "workflow.append_window_not_open"
    assert db.value("select metadata from runledger.workflow_run_mutations") == {"why": "more links"}


def test_a_refused_append_names_its_problems(client: Any):
    run_id = client.enqueue_workflow("w", [{"key": "g", "external": True}]).workflow_run_id
    with pytest.raises(runledger.InvalidWorkflow) as caught:
        client.append_workflow_steps(run_id, "m1", append_window="g", steps=[{"key": "g", "job_type": "sweep"}])
    assert [(p["ordinal"], p["step"], p["code"]) for p in caught.value.problems] == [
        (1, "g", "workflow.invalid_dag_duplicate_step_key")
    ]


def test_a_canceled_run_is_canceled_once(client: Any, db: Db):
    run_id = client.enqueue_workflow(research(active_key="one")).workflow_run_id
    live = client.enqueue_workflow(research(active_key="one"))
    assert live == EnqueuedWorkflow(run_id, "EXISTING_ACTIVE", "RUNNING")
    assert client.cancel_workflow(run_id, "enough") == CanceledWorkflow(run_id, "CANCELED", "CANCELED")
    assert client.cancel_workflow(str(run_id)) == CanceledWorkflow(run_id, "UNCHANGED", "CANCELED")
    assert set(steps(db, run_id).values()) == {"CANCELED"}
    assert client.get_workflow(run_id).status_reason == "enough"
    assert client.enqueue_workflow(research(active_key="one")).disposition == "INSERTED"


def test_runs_are_listed_newest_first_page_by_page(client: Any):
    start = datetime.now(UTC) - timedelta(minutes=1)
    ids = [
        client.enqueue_workflow(
            "even" if n % 2 == 0 else "odd", [{"key": "g", "external": True}], organization_id=TENANT
        ).workflow_run_id
        for n in range(4)
    ]
    client.cancel_workflow(ids[0])
    listed = client.list_workflows()
    assert [r.workflow_run_id for r in listed] == ids[::-1]
    assert (listed[0].status, listed[0].steps_total, listed[0].steps_waiting) == ("WAITING_FOR_EXTERNAL", 1, 1)
    assert [r.workflow_run_id for r in client.list_workflows("even", "CANCELED")] == [ids[0]]
    assert [r.workflow_run_id for r in client.list_workflows(max_rows=1, before_id=ids[2])] == [ids[1]]
    assert len(client.list_workflows(organization_id=TENANT, created_after=start)) == 4
    assert client.list_workflows(organization_id=OTHER) == client.list_workflows(created_before=start) == []
    with pytest.raises(runledger.InvalidArgument):
        client.list_workflows(status="DONE")


def test_a_run_is_drawn(client: Any):
    run_id = client.enqueue_workflow(research()).workflow_run_id
    tree = client.workflow_tree(run_id)
    assert len(tree) == 5
    assert "profiles.research" in tree[0]
    assert [line.split()[0] for line in tree[1:]] == ["crawl", "approve", "score", "sweep"]
    assert "waits for crawl" in tree[2]
    drawing = client.workflow_mermaid(run_id)
    assert drawing.startswith("flowchart TD\n")
    assert '{{"approve"}}' in drawing


def test_await_workflow_asks_for_a_notification(client: Any, db: Db):
    run_id = client.enqueue_workflow(research()).workflow_run_id
    until = datetime.now(UTC) + timedelta(minutes=5)
    outcome = client.await_workflow(run_id, until)
    assert (outcome.status, outcome.is_finished, outcome.result) == ("RUNNING", False, None)
    assert db.value("select awaited_until from runledger.workflow_runs") == until


def test_another_tenant_sees_and_does_nothing(client: Any, db: Db):
    run_id = client.enqueue_workflow(research(organization_id=TENANT)).workflow_run_id
    step = [{"key": "x", "job_type": "sweep"}]
    for act in (
        lambda org: client.workflow_result(run_id, org),
        lambda org: client.await_workflow(run_id, datetime.now(UTC) + timedelta(minutes=5), organization_id=org),
        lambda org: client.complete_external_step(run_id, "approve", organization_id=org),
        lambda org: client.append_workflow_steps(run_id, "m", append_window="approve", steps=step, organization_id=org),
        lambda org: client.cancel_workflow(run_id, organization_id=org),
    ):
        with pytest.raises(runledger.NotFound) as caught:
            act(OTHER)
        assert caught.value.code == "workflow.run_not_found"
    assert client.get_workflow(run_id, OTHER) is None
    assert client.get_workflow(run_id, TENANT).workflow_run_id == run_id
    assert client.get_workflow(uuid4()) is None
    assert db.value("select status::text from runledger.workflow_runs") == "RUNNING"


def test_in_the_callers_transaction_a_workflow_lives_and_dies_with_it(driver: Driver, db: Db):
    connection = driver.connection()
    client = driver.client(connection)
    run_id = client.enqueue_workflow(research()).workflow_run_id
    assert driver.wait(client.client.workflow(run_id).status()) == "RUNNING"
    driver.wait(connection.rollback())
    assert db.value("select count(*) from runledger.workflow_runs") == 0
    assert db.value("select count(*) from runledger.job_queue") == 0
