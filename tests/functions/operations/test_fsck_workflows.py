"""fsck of workflows: nothing on sound runs, and for each of W1 to W16 a corruption that it sees."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support import flows
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import TENANT, Ledger
from tests.support.plpgsql import functions
from tests.support.stories import Stories, drop_guards
from tests.support.told import Told, findings, telling

# Whatever would refuse a corruption of these is taken away first.
GUARDED = ("workflow_runs", "workflow_steps", "workflow_step_dependencies")

SECRET = "sekrit"
LOOKS = (
    "select * from runledger.workflow_tree(", "select * from runledger.job_timeline ",
    "select * from runledger.running_jobs ",
)  # fmt: skip


def tell_story(q: Ledger, job_type: str = "t", key: str = SECRET) -> dict[str, Flow]:
    """Runs in which everything happened once, by name."""
    q.define(job_type)
    step = functools.partial(flows.step, job_type=job_type)
    start = Flows(q)
    runs = {
        "done": start(step("a"), step("b", "a"), result_step="b"),
        "errors": start(step("a"), step("b", "a"), step("c", always="b"), step("late", "a")),
    }
    runs["done"].succeed("a", "b")
    runs["errors"].fail("a")
    runs["errors"].succeed("c")

    canceled = start(step("a"), step("b", "a"), gate("g"), active_key=key + "2")
    canceled.claim(lease_seconds=3600)
    canceled.cancel(reason=SECRET)
    single = start(step("a"), step("b", "a"), step("c", always="a"))
    single.cancel_job("a")
    live = start(
        step("a", payload={"card": SECRET}), step("b", "a"), step("c", ["a", "b"]), gate("g"), step("after", "g"),
        active_key=key, metadata={"card": SECRET},
    )  # fmt: skip
    live.claim(lease_seconds=3600)
    live.append(step("e"), step("f", "e"), key=SECRET)
    waiting = start(gate("g"))
    tenant = start(
        step("a"), gate("g", "a", timeout_seconds=60, on_timeout="FAILED"), organization_id=TENANT, active_key=key
    )
    stuck = start(step("a"), step("b", "a"))
    return runs | {
        "canceled": canceled,
        "single": single,
        "live": live,
        "waiting": waiting,
        "tenant": tenant,
        "stuck": stuck,
    }


def names(runs: dict[str, Flow], q: Ledger, nth: int) -> dict[str, str]:
    """Ids: {live} a run, {live_a} a step, {live_a_job} its job; {nobody} none."""
    found = {name: str(flow.id) for name, flow in runs.items()}
    for name, flow in runs.items():
        for key in flow.states():
            row = flow.step(key)
            found |= {f"{name}_{key}": str(row["id"]), f"{name}_{key}_job": str(row["job_id"])}
    return found | {"loose": str(q.enqueue()), "nobody": f"0190cf00-0000-7000-8000-00000000000{nth}"}


@dataclass(frozen=True)
class Corruption:
    """`sql` brings it about, {name} as in `names`."""

    name: str
    invariant: str
    sql: str
    repairable: bool = True

    def __str__(self) -> str:
        return f"{self.invariant}-{self.name.replace(' ', '_')}"


def of_step(change: str, name: str) -> str:
    return f"update runledger.workflow_steps set {change} where id = '{{{name}}}'"


def of_run(change: str, name: str) -> str:
    return f"update runledger.workflow_runs set {change} where id = '{{{name}}}'"


def of_job(change: str, name: str) -> str:
    return f"update runledger.job_queue set {change} where id = '{{{name}_job}}'"


CORRUPTIONS = [
    Corruption("decrement lost", "W1", of_step("dependency_count_total = 2, dependency_count_pending = 2", "live_b")),
    Corruption("decrement too many", "W1", of_step("dependency_count_pending = 1", "live_c")),
    Corruption("failure not told", "W1", of_step("dependency_count_unsatisfied = 0", "errors_b")),
    Corruption("end of any kind counted as failure", "W1", of_step("dependency_count_unsatisfied = 1", "single_c")),
    Corruption("total of another graph", "W1", of_step("dependency_count_total = 2", "done_b")),
    Corruption("edge lost", "W1", "delete from runledger.workflow_step_dependencies where dependent_step_id = '{done_b}'"),
    Corruption("blocked for ever", "W2", of_step("dependency_count_pending = 0", "live_b")),
    Corruption("release lost", "W2", of_step("status = 'BLOCKED', job_id = null, finished_at = null, output = null", "done_b")),
    Corruption("let go too early", "W3", of_step("dependency_count_total = 1, dependency_count_pending = 1", "live_e")),
    Corruption("let go without success", "W3", of_step("dependency_count_total = 1, dependency_count_unsatisfied = 1", "live_e")),
    Corruption("gate with a job", "W4", of_step("job_id = '{loose}'", "waiting_g")),
    Corruption("queued gate", "W4", of_step("status = 'ENQUEUED'", "waiting_g")),
    Corruption("running gate", "W4", of_step("status = 'RUNNING'", "waiting_g")),
    Corruption("waiting job", "W4", of_step("status = 'WAITING_FOR_EXTERNAL'", "live_e")),
    Corruption("released without a job", "W4", of_step("job_id = null", "live_e")),
    Corruption("blocked with a job", "W4", of_step("job_id = '{loose}'", "live_b")),
    Corruption("finished without an end", "W4", of_step("finished_at = null", "errors_b")),
    Corruption("open with an end", "W4", of_step("finished_at = now()", "live_e")),
    Corruption("job of two steps", "W5", of_step("job_id = '{done_a_job}'", "done_b")),
    Corruption("job gone", "W6", of_step("job_id = '{nobody}'", "live_e")),
    Corruption("job lost", "W6", "delete from runledger.job_events where job_id = '{stuck_a_job}';"
               " delete from runledger.job_queue where id = '{stuck_a_job}'"),
    Corruption("job of another run", "W6", of_job("workflow_run_id = '{done}'", "live_e")),
    Corruption("job of no run", "W6", of_job("workflow_run_id = null", "live_e")),
    Corruption("running but pending", "W7", of_step("status = 'RUNNING'", "live_e")),
    Corruption("queued but leased", "W7", of_step("status = 'ENQUEUED'", "live_a")),
    Corruption("failed but succeeded", "W7", of_step("status = 'FAILED', output = null", "done_a")),
    Corruption("running but over", "W7",
               of_step("status = 'RUNNING', finished_at = null, output = null", "done_a")),
    Corruption("job without a step", "W8",
               "update runledger.job_queue set workflow_run_id = '{live}' where id = '{loose}'"),
    Corruption("edge from nowhere", "W9", "insert into runledger.workflow_step_dependencies"
               " values ('{live}', '{nobody}', '{live_b}', 'ON_SUCCESS', now())"),
    Corruption("edge to nowhere", "W9", "insert into runledger.workflow_step_dependencies"
               " values ('{live}', '{live_b}', '{nobody}', 'ON_SUCCESS', now())"),
    Corruption("edge between runs", "W9", "update runledger.workflow_step_dependencies"
               " set workflow_run_id = '{done}' where dependent_step_id = '{live_b}'"),
    Corruption("edge backwards", "W9", of_step("ordinal = 100", "live_a"), repairable=False),
    Corruption("edge in a circle", "W9", of_step(
               "ordinal = (select ordinal from runledger.workflow_steps where id = '{live_a}')", "live_b"), repairable=False),
    Corruption("edge from another run", "W9", "insert into runledger.workflow_step_dependencies"
               " values ('{live}', '{done_a}', '{live_b}', 'ON_SUCCESS', now())"),
    Corruption("edge into another run", "W9", "insert into runledger.workflow_step_dependencies"
               " values ('{live}', '{live_a}', '{stuck_b}', 'ON_SUCCESS', now())"),
    Corruption("steps not counted", "W10", of_run("steps_active = steps_active - 1, steps_total = steps_total - 1", "live")),
    Corruption("success not counted", "W10", of_run("steps_succeeded = 1, steps_active = 1, status = 'RUNNING', finished_at = null", "done")),
    Corruption("failure counted as success", "W10", of_run("steps_succeeded = 4, steps_failed = 0, status = 'SUCCEEDED'", "errors")),
    Corruption("gate not counted", "W10", of_run("steps_active = steps_active + 1, steps_waiting = 0", "live")),
    Corruption("succeeded too early", "W11", of_run("status = 'SUCCEEDED', finished_at = now()", "live")),
    Corruption("waiting though active", "W11", of_run("status = 'WAITING_FOR_EXTERNAL'", "live")),
    Corruption("finished without an end", "W11", of_run("finished_at = null", "done")),
    Corruption("going on with an end", "W11", of_run("finished_at = now()", "waiting")),
    Corruption("canceled with open steps", "W11", of_run("steps_active = 1, steps_failed = 2", "canceled")),
    Corruption("nothing can move", "W12", of_step("status = 'BLOCKED', job_id = null, dependency_count_total = 1,"
               " dependency_count_pending = 1", "stuck_a")),
    Corruption("key of two steps", "W13", of_step("step_key = 'a'", "live_b"), repairable=False),
    Corruption("place of two steps", "W13", of_step(
               "ordinal = (select ordinal from runledger.workflow_steps where id = '{live_e}')", "live_g"), repairable=False),
    Corruption("job of another tenant", "W14", of_job(f"organization_id = '{TENANT}'", "live_e")),
    Corruption("job of no tenant", "W14", of_job("organization_id = null", "tenant_a")),
    Corruption("key of two runs", "W15", of_run("active_key = '{key}', active_key_held = true", "waiting")),
    Corruption("key of two runs of a tenant", "W15",
               of_run(f"organization_id = '{TENANT}', active_key = '{{key}}', active_key_held = true", "waiting")),
    Corruption("live run without its key", "W15", of_run("active_key_held = false", "live")),
    Corruption("two live runs without their key", "W15",
               of_run("active_key_held = false", "live") + ";" + of_run("active_key = '{key}'", "stuck")),
    Corruption("key without a run to give it back", "W15",
               of_run("active_key = 'x', active_key_held = true", "done")),
    Corruption("key held without a key", "W15", of_run("active_key = null", "live")),
    Corruption("key of two runs that are over", "W15", of_run("active_key = '{key}2', active_key_held = true", "errors")),
    Corruption("blank type", "W16", of_run("workflow_type = E' \\t'", "done"), repairable=False),
    Corruption("blank key", "W16", of_run("idempotency_key = '', enqueue_request = '{{}}'", "done"), repairable=False),
    Corruption("key without its request", "W16", of_run("idempotency_key = 'k'", "done"), repairable=False),
    Corruption("overlong active key", "W16", of_run("active_key = repeat('x', 513)", "done")),
    Corruption("blank result step", "W16", of_run("result_step_key = ' '", "stuck")),
    Corruption("blank step key", "W16", of_step("step_key = E' \\t'", "live_b"), repairable=False),
    Corruption("step without a type", "W16", of_step("job_type = null", "live_b"), repairable=False),
    Corruption("step without a priority", "W16", of_step("priority = null", "live_b")),
    Corruption("step without a stage", "W16", of_step("stage = null", "live_b")),
    Corruption("step without attempts", "W16", of_step("max_attempts = 0", "live_b")),
    Corruption("step without an end", "W16", of_step("timeout_seconds = null", "live_b")),
    Corruption("gate with settings", "W16", of_step("max_attempts = 1", "live_g")),
    Corruption("gate with a type", "W16", of_step("job_type = 't'", "live_g")),
    Corruption("gate that may continue", "W16", of_step("allow_continuation = true", "live_g")),
    Corruption("timeout without an outcome", "W16", of_step("gate_timeout_seconds = 1", "live_g")),
    Corruption("outcome without a timeout", "W16", of_step("on_timeout = 'FAILED'", "live_g")),
    Corruption("overlong type", "W16", of_run("workflow_type = repeat('x', 201)", "done"), repairable=False),
    Corruption("overlong result step", "W16", of_run("result_step_key = repeat('x', 201)", "stuck")),
    Corruption("overlong step key", "W16", of_step("step_key = repeat('x', 201)", "live_b"), repairable=False),
    Corruption("overlong key", "W16", of_run("idempotency_key = repeat('{key}', 80), enqueue_request = '{{}}'", "done"),
               repairable=False),
    Corruption("step without time", "W16", of_step("timeout_seconds = 0", "live_b")),
    Corruption("step without a number of attempts", "W16", of_step("max_attempts = null", "live_b")),
    Corruption("timeout of nothing", "W16", of_step("gate_timeout_seconds = 0, on_timeout = 'FAILED'", "live_g")),
    Corruption("timeout with no such outcome", "W16", of_step("gate_timeout_seconds = 1, on_timeout = 'x'", "live_g")),
    Corruption("timeout of a job", "W16", of_step("gate_timeout_seconds = 1, on_timeout = 'FAILED'", "live_b")),
]  # fmt: skip

# What looks like one of these and is none.
SOUND = {
    "a run that is being pruned": of_run("pruned_at = now(), steps_total = 7, steps_failed = 3", "errors") + ";"
        "delete from runledger.workflow_step_dependencies where workflow_run_id = '{errors}'",
    "a key that two runs gave back": of_run("active_key = '{nobody}'", "done") + ";"
        + of_run("active_key = '{nobody}'", "errors"),
    "a key that a finished run gave back": of_run("active_key = '{key}'", "done"),
    "a key that a run of another type holds": of_run("active_key = '{nobody}', active_key_held = true", "stuck"),
    "names as long as can be": of_run("workflow_type = repeat('x', 200), idempotency_key = left(repeat('{key}{nobody}', 20), 512),"
        " enqueue_request = '{{}}', result_step_key = repeat('x', 200)", "stuck") + ";"
        + of_step("step_key = repeat('x', 200)", "live_b"),
    "settings as small as can be": of_step("max_attempts = 1, timeout_seconds = 1, priority = -5", "live_b"),
    "a gate that ends well": of_step("gate_timeout_seconds = 1, on_timeout = 'SUCCEEDED'", "live_g"),
    "a gate that ends badly": of_step("gate_timeout_seconds = 1, on_timeout = 'FAILED'", "live_g"),
    "a gate that is given up": of_step("gate_timeout_seconds = 1, on_timeout = 'CANCELED'", "live_g"),
}  # fmt: skip


@pytest.fixture(scope="module")
def stories(pg) -> Iterator[Stories]:
    """Told once; each test takes back what it did to them."""
    db = Db(pg.take(), pg)
    q = Ledger(db)
    first = names(tell_story(q), q, 1)
    # What is still to be done of the first story is not for the workers of the second.
    q.row("pause_job_type", job_type="t")
    second = names(tell_story(q, "u", SECRET + "again"), q, 2)
    q.row("resume_job_type", job_type="t")
    yield Stories(q, GUARDED, first | {"key": SECRET}, second | {"key": SECRET + "again"})
    assert q.rows("fsck") == []
    db.close()


@pytest.fixture
def told(stories: Stories) -> tuple[Ledger, dict[str, str]]:
    return stories.q, stories.first


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
def test_corruption_is_seen_and_repaired(stories: Stories, request: pytest.FixtureRequest, corruption: Corruption):
    """What is found and what mends it stands in told/test_fsck_workflows.txt, word for word."""
    q = stories.q
    with telling(request, names=stories.names) as told, q.conn.transaction(force_rollback=True):
        guards = drop_guards(q.conn, GUARDED)
        # The second first, so that the order of findings is not that of the rows in their table.
        q.conn.execute(corruption.sql.format(**stories.second))
        q.conn.execute(corruption.sql.format(**stories.first))
        assert_seen(q, told, corruption, stories.first)
        left = repair(q)
        if corruption.repairable:
            assert left == []
            q.conn.execute(guards)
            live_on(q)
        else:
            # Which of two steps a name belongs to, and which edge turned an order round, nobody can tell.
            assert left


def assert_seen(q: Ledger, told: Told, corruption: Corruption, first: dict[str, str]) -> None:
    found = q.rows("fsck")
    mine = [f for f in found if f["invariant"] == corruption.invariant]
    assert mine, [f["invariant"] for f in found]
    assert {f["severity"] for f in mine} == {"ERROR"}
    assert {f["detail"]["violations"] for f in mine} == {len(mine)}
    assert SECRET not in str(found)
    told.hear(*findings(found))
    invariants = list(dict.fromkeys(f["invariant"] for f in found))
    assert [brief(f) for f in q.rows("fsck", max_rows=1)] == [
        next(brief(f) for f in found if f["invariant"] == i) for i in invariants
    ]
    assert not [f for f in q.rows("fsck", scope="fast") if f["invariant"].startswith("W")]
    for name, run in first.items():
        if {f"{name}_a", f"{name}_g"} & first.keys() and run in str(found):
            of_run = q.rows("fsck", workflow_run_id=run)
            told.hear(f"of the run {name.upper()}: " + ", ".join(brief(f) for f in of_run))


def brief(finding: dict[str, Any]) -> str:
    return f"{finding['invariant']} {finding['object']}"


def repair(q: Ledger) -> list[dict[str, Any]]:
    """As the owner would do it: the first thing that can be repaired, then look again. Returns what is left."""
    for _ in range(24):
        found = q.rows("fsck")
        repairs = [f["repair"] for f in found if not f["repair"].startswith(LOOKS)]
        if not repairs:
            for finding in found:
                assert q.conn.execute(finding["repair"]).description
            return found
        q.conn.execute(repairs[0])
    raise AssertionError(f"not repaired: {found}")


def live_on(q: Ledger) -> None:
    """Every run can be brought to its end, the repaired one, too."""
    q.rows("reap_expired_leases", max_jobs=1000)
    for _ in range(12):
        q.claim(1000, "t", "u", lease_seconds=3600)
        for row in q.conn.execute("select id, lease_token from runledger.job_queue where status = 'LEASED'").fetchall():
            assert q.finish_one({"job_id": row[0], "lease_token": row[1]}, "SUCCEEDED")["disposition"] == "SUCCEEDED"
        gates = q.conn.execute(
            "select workflow_run_id, step_key from runledger.workflow_steps where status = 'WAITING_FOR_EXTERNAL'"
        ).fetchall()
        for run_id, key in gates:
            q.row("complete_external_step", workflow_run_id=run_id, step_key=key, outcome="SUCCEEDED")
    open_ = q.conn.execute("select id, status::text from runledger.workflow_runs where finished_at is null").fetchall()
    assert open_ == []
    assert q.rows("fsck") == []


@pytest.mark.parametrize("name", SOUND)
def test_what_looks_alike_is_no_finding(stories: Stories, name: str):
    stories.assert_sound(SOUND[name])


def test_every_invariant_has_its_corruption():
    checked = {i for f in functions() if f.name.startswith("_fsck_") for i in re.findall(r"'(W\d+)'", f.text)}
    assert checked == {c.invariant for c in CORRUPTIONS} == {f"W{n}" for n in range(1, 17)}


def test_a_job_that_exists_too_early_is_left_to_people(told: tuple[Ledger, dict[str, str]]):
    """Its step can neither wait, for there is the job, nor go on, for the gate before it is shut."""
    q, ids = told
    state = "select status::text, job_id, dependency_count_total from runledger.workflow_steps where id = %s"
    with q.conn.transaction(force_rollback=True):
        before = q.conn.execute(state, [ids["live_e"]]).fetchall()
        q.conn.execute(
            "insert into runledger.workflow_step_dependencies values (%s, %s, %s, 'ON_SUCCESS', now())",
            [ids["live"], ids["live_g"], ids["live_e"]],
        )
        assert {f["invariant"] for f in q.rows("fsck")} == {"W1"}
        q.conn.execute("select runledger._repair_run(%s)", [ids["live"]])
        assert q.conn.execute(state, [ids["live_e"]]).fetchall() == before
        assert {f["invariant"] for f in q.rows("fsck")} == {"W1"}


def test_finished_steps_outlive_their_jobs(told: tuple[Ledger, dict[str, str]]):
    q, ids = told
    with q.conn.transaction(force_rollback=True):
        for table, column in (("job_events", "job_id"), ("job_attempts", "job_id"), ("job_queue", "id")):
            q.conn.execute(f"delete from runledger.{table} where {column} = %s", [ids["done_a_job"]])
        assert q.rows("fsck") == []


def test_a_run_is_checked_alone(told: tuple[Ledger, dict[str, str]]):
    q, ids = told
    with q.conn.transaction(force_rollback=True):
        drop_guards(q.conn, GUARDED)
        for name in ("live", "done", "tenant"):
            q.conn.execute(
                "update runledger.workflow_runs set steps_total = 77, status = 'CANCELED' where id = %s", [ids[name]]
            )
            q.conn.execute(
                "update runledger.workflow_steps set dependency_count_total = 9 where workflow_run_id = %s", [ids[name]]
            )
        for name in ("live", "done", "tenant"):
            found = q.rows("fsck", workflow_run_id=ids[name])
            assert {f["invariant"] for f in found} >= {"W1", "W10"}
            assert {f["object"] for f in found if f["invariant"] in ("W10", "W11")} == {f"workflow run {ids[name]}"}
            assert {f["detail"]["workflow_run_id"] for f in found if f["invariant"] == "W1"} == {ids[name]}
        assert q.rows("fsck", workflow_run_id=ids["errors"]) == []


def test_of_many_that_share_something_ten_are_named(told: tuple[Ledger, dict[str, str]]):
    q, ids = told
    with q.conn.transaction(force_rollback=True):
        drop_guards(q.conn, GUARDED)
        flow = Flows(q)(*(step(f"s{n:02}") for n in range(12)))
        rows = q.conn.execute("select id from runledger.workflow_steps where workflow_run_id = %s", [flow.id]).fetchall()
        steps = sorted(str(step_id) for (step_id,) in rows)
        for step_id in reversed(steps):
            q.conn.execute(
                "update runledger.workflow_steps set step_key = 'a', job_id = %s where id = %s",
                [ids["live_a_job"], step_id],
            )
        found = {f["invariant"]: f for f in q.rows("fsck")}
        among = sorted([*steps, ids["live_a"]])
        assert (found["W5"]["detail"]["steps"], found["W5"]["detail"]["step_ids"]) == (13, among[:10])
        assert (found["W13"]["detail"]["steps"], found["W13"]["detail"]["step_ids"]) == (12, steps[:10])


def test_rows_are_bounded_and_counted(told: tuple[Ledger, dict[str, str]]):
    q, _ = told
    with q.conn.transaction(force_rollback=True):
        steps = q.db.value("select count(*) from runledger.workflow_steps")
        runs = q.db.value("select count(*) from runledger.workflow_runs")
        drop_guards(q.conn, GUARDED)
        q.conn.execute(
            "update runledger.workflow_steps set dependency_count_total = 9, dependency_count_pending = 4, status = 'BLOCKED'"
        )
        q.conn.execute("update runledger.workflow_runs set steps_total = 9, finished_at = null")
        found = q.rows("fsck", max_rows=3)
        for invariant, violations in (("W1", steps), ("W10", runs), ("W12", runs)):
            mine = [f for f in found if f["invariant"] == invariant]
            assert len(mine) == 3
            assert {f["detail"]["violations"] for f in mine} == {violations}
