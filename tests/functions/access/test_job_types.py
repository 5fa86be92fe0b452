"""A role that is held to job types: what it may enqueue, claim, register for and read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import Ledger

Acting = Callable[..., Ledger]
CODE = "access.job_type_not_granted"


@pytest.fixture(autouse=True)
def other_type(q: Ledger):
    q.define("u")


def test_a_producer_enqueues_its_types_only(db: Db, acting: Acting):
    p = acting("producer", types=["t"])
    p.enqueue("t")
    with p.refused(CODE, "RL005") as told:
        p.enqueue("u", idempotency_key="k")
    assert told.detail["job_types"] == ["u"]
    with p.refused(CODE):
        p.enqueue("no such type")
    assert db.column("select job_type from runledger.job_queue") == ["t"]


def test_no_key_of_another_type_is_found(acting: Acting, q: Ledger):
    """Neither the job nor that there is one."""
    q.enqueue("u", idempotency_key="k")
    p = acting("producer", types=["t"])
    with p.refused(CODE):
        p.enqueue("u", idempotency_key="k")
    rows = p.rows("enqueue_jobs", jobs=[{"job_type": "u", "idempotency_key": k} for k in ("k", "free")])
    assert [(r["disposition"], r["job_id"], r["code"]) for r in rows] == [("INVALID", None, CODE)] * 2


def test_a_batch_says_which_items_are_not_granted(db: Db, acting: Acting):
    p = acting("producer", types=["t"])
    items = [{"job_type": "u"}, {"job_type": "t"}, {"job_type": "u"}, {"job_type": 1}]
    rows = p.rows("enqueue_jobs", jobs=items)
    assert [r["code"] for r in rows] == [CODE, None, CODE, "job.invalid_job_type"]
    with p.refused(CODE):
        p.rows("enqueue_jobs", jobs=items[1:3], strict=True)
    assert db.column("select job_type from runledger.job_queue") == ["t"]


def test_a_workflow_needs_all_its_types(db: Db, acting: Acting, q: Ledger):
    p = acting("producer", types=["t"])
    with p.refused(CODE) as told:
        p.row("enqueue_workflow", workflow_type="w", steps=[
            {"key": "a", "job_type": "t"}, {"key": "b", "job_type": "u", "after_success": ["a"]}])  # fmt: skip
    assert told.detail["job_types"] == ["u"]
    assert db.all("select * from runledger.workflow_runs") == []
    steps = [{"key": "a", "job_type": "t"}, {"key": "g", "external": True}]
    run = p.row("enqueue_workflow", workflow_type="w", steps=steps)["workflow_run_id"]
    more = {"workflow_run_id": run, "mutation_key": "m", "append_window": "g"}
    with p.refused(CODE):
        p.rows("append_workflow_steps", **more, steps=[{"key": "c", "job_type": "u"}])
    [added] = p.rows("append_workflow_steps", **more, steps=[{"key": "c", "job_type": "t"}])
    assert added["disposition"] == "APPENDED"
    assert p.row("complete_external_step", workflow_run_id=run, step_key="g")["replayed"] is False


def test_a_worker_claims_its_types_only(acting: Acting, q: Ledger):
    w = acting("worker", types=["t"])
    q.enqueue("t")
    q.enqueue("u", payload={"secret": 1})
    for types in (["u"], ["t", "u"], ["t", "no such type"]):
        with w.refused(CODE, "RL005"):
            w.claim(10, *types)
    with w.refused(CODE):
        w.row("register_worker", worker_id="w", job_types=["t", "u"])
    with w.refused(CODE):
        w.row("runtime_config", job_type="u")
    assert [c["job_type"] for c in w.claim(10, "t")] == ["t"]
    w.row("register_worker", worker_id="w", job_types=["t"])


def test_nobody_writes_into_the_log_of_another_type(acting: Acting, q: Ledger):
    """Without a token: a job of a type that is not granted is not there."""
    w = acting("worker", types=["t"])
    line = {"level": "info", "message": "m"}
    with w.refused("job.not_found"):
        w.row("log_job", job_id=q.enqueue("u"), **line)
    w.row("log_job", job_id=q.enqueue("t"), **line)


def test_a_lease_may_be_ended_when_its_type_is_no_longer_granted(acting: Acting, q: Ledger):
    w = acting("worker", types=["t"])
    lease = w.hold(q.enqueue())
    q.row("grant_access", role_name=w.role, kind="worker", job_types=["u"])
    with w.refused(CODE):
        w.claim()
    assert w.beat(lease) == ["EXTENDED"]
    line = {"job_id": str(lease["job_id"]), "level": "info", "message": "m"}
    with w.refused("job.not_found"):
        w.row("log_job", **line)
    w.row("log_job", **line, lease_token=lease["lease_token"])
    told = w.rows("log_jobs", entries=[line, {**line, "lease_token": lease["lease_token"]}])
    assert [r["code"] for r in told] == ["job.not_found", None]
    assert w.succeed(lease)["disposition"] == "SUCCEEDED"


def test_types_of_several_grants_add_up(acting: Acting, q: Ledger, new_role: Callable[..., str]):
    group = new_role("group", options="nologin")
    q.row("grant_access", role_name=group, kind="producer", job_types=["u"])
    both = acting("producer", types=["t"], member_of=group)
    both.enqueue("t")
    both.enqueue("u")
    q.row("grant_access", role_name=group, kind="producer")
    q.define("v")
    both.enqueue("v")


def test_types_hold_for_their_kind_alone(acting: Acting, q: Ledger):
    """What a role may claim says nothing about what it may enqueue."""
    both = acting("producer", "worker", types=["t"])
    q.row("grant_access", role_name=both.role, kind="worker", job_types=["u"])
    both.enqueue("t")
    with both.refused(CODE):
        both.enqueue("u")
    with both.refused(CODE):
        both.claim(1, "t")
    both.claim(1, "u")


def test_other_roles_are_not_held(acting: Acting):
    """Operators, unrestricted roles and the owner enqueue what they like while somebody else is restricted."""
    acting("producer", "worker", types=["t"])
    for free in (acting("producer"), acting("operator")):
        free.enqueue("u")
    assert len(acting("worker").claim(10, "u")) == 2


def test_execute_by_hand_is_no_grant_once_types_count(db: Db, acting: Acting, new_role: Callable[..., str], q: Ledger):
    """A role without a grant of its own could else be lent a restricted role's rights, by a function of that role."""
    role = new_role()
    db.execute(f"grant usage on schema runledger to {role}")
    db.execute(f"grant execute on function runledger.enqueue_job to {role}")
    by_hand = q.on(db.connect(login=role))
    by_hand.enqueue("u")
    acting("producer", types=["t"])
    with by_hand.refused(CODE):
        by_hand.enqueue("u")


def test_whoever_fires_need_not_be_granted_the_types(db: Db, acting: Acting, q: Ledger, clock: Clock):
    """A schedule was made by an operator; a worker that is held to other types fires it, jobs and workflows alike."""
    w = acting("worker", types=["t"])
    q.row("upsert_schedule", name="job", job_type="u", cron="* * * * *")
    q.row("upsert_schedule", name="run", job_type=None, cron="* * * * *", workflow_type="w",
          steps=[{"key": "a", "job_type": "u"}])  # fmt: skip
    clock.advance(61)
    assert {r["disposition"] for r in w.rows("fire_due_schedules")} == {"FIRED"}
    assert db.column("select job_type from runledger.job_queue") == ["u", "u"]


def test_steps_of_other_types_are_let_go_by_any_worker(db: Db, acting: Acting, q: Ledger):
    w = acting("worker", types=["t"])
    q.row("enqueue_workflow", workflow_type="w", steps=[
        {"key": "a", "job_type": "t"}, {"key": "b", "job_type": "u", "after_success": ["a"]}])  # fmt: skip
    [claimed] = w.claim()
    w.succeed({k: claimed[k] for k in ("job_id", "lease_token")})
    assert db.column("select job_type from runledger.job_queue where status = 'PENDING'") == ["u"]
    with w.refused(CODE):
        w.claim(1, "u")


def buffers(ledger: Ledger, query: str) -> int:
    """Pages that a call touches, all statements inside it included."""
    plan = ledger.conn.execute("explain (analyze, buffers, format json, timing off) " + query).fetchone()[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize(
    "query",
    ["select * from runledger.claim_jobs('w', '{t}')", "select * from runledger.leased_jobs('w')"],
)
def test_the_look_at_the_grants_costs_a_page_or_two(acting: Acting, q: Ledger, query: str):
    """Nothing for the owner, the table of grants for others; the roles of each only while one of them is restricted."""
    free = acting("producer", "worker")
    for ledger in (q, free) * 8:
        ledger.conn.execute(query)
    owner, others = buffers(q, query), buffers(free, query)
    assert others - owner <= 4
    acting("producer", "worker", types=["t"])
    for _ in range(8):
        free.conn.execute(query)
    assert buffers(free, query) - owner <= 40
