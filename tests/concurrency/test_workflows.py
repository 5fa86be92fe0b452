"""Workflow verbs against each other: the row of the run is its mutex, nobody deadlocks, and nothing is let go twice or
never."""

from __future__ import annotations

import itertools
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.concurrency.threads import together
from tests.property.test_random_graphs import some_steps
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.interleave import Session
from tests.support.ledger import Ledger

Sessions = Callable[..., tuple[Session, ...]]
OUTCOME = "select * from runledger.finish_jobs(jsonb_build_array(jsonb_build_object('job_id', %({0})s::uuid, 'lease_token', %({0}_token)s::bigint, {1})))"
FAILED = "'outcome', 'FAILED', 'kind', 'TERMINAL', 'error_code', 'e', 'error_message', 'm'"
APPEND = "select * from runledger.append_workflow_steps(%(run)s, 'k', 'g', '{}')"
VERBS = {
    "succeed a": OUTCOME.format("a", "'outcome', 'SUCCEEDED'"),
    "fail a": OUTCOME.format("a", FAILED),
    "succeed b": OUTCOME.format("b", "'outcome', 'SUCCEEDED'"),
    "release b": OUTCOME.format("b", "'outcome', 'RELEASE', 'reason', 'r'"),
    "cancel job a": "select * from runledger.cancel_job(%(a)s)",
    "cancel run": "select * from runledger.cancel_workflow(%(run)s)",
    "complete g": "select *, status as disposition from runledger.complete_external_step(%(run)s, 'g')",
    "fail g": "select *, status as disposition from runledger.complete_external_step(%(run)s, 'g', 'FAILED')",
    "append": APPEND.format('[{"key": "x", "job_type": "t", "after_success": ["a"]}, {"key": "y", "external": true, "after_terminal": ["x"]}]'),
    "append other": APPEND.format('[{"key": "z", "job_type": "t", "after_terminal": ["b"]}]'),
}  # fmt: skip
REAP = "select * from runledger.reap_expired_leases()"
MAINTAIN = "select * from runledger.run_maintenance()"
CLAIM = "select * from runledger.claim_jobs('w9', '{t}', 100)"


@pytest.fixture
def start(q: Ledger) -> Flows:
    return Flows(q)


def begin_run(start: Flows) -> tuple[Flow, dict[str, Any]]:
    """a and b leased, g open; c needs both, d follows a, e needs the gate. With the parameters of VERBS."""
    flow = start(
        step("a"), step("b"), gate("g"), step("c", ["a", "b"]), step("d", always="a"), step("e", "g", always="b")
    )
    told: dict[str, Any] = {"run": flow.id}
    for key in "ab":
        lease = flow.lease(key, lease_seconds=3600)
        told |= {key: lease["job_id"], f"{key}_token": lease["lease_token"]}
    return flow, told


def answer(call: Callable[[], list[dict[str, Any]]]) -> Any:
    """Dispositions, or the code of the error."""
    try:
        rows = call()
    except psycopg.Error as error:
        if not (error.diag.sqlstate or "").startswith("RL"):
            raise
        return json.loads(error.diag.message_detail or "")["code"]
    return tuple((r["disposition"], r.get("replayed"), r.get("code"), r.get("status")) for r in rows)


def outcome(flow: Flow) -> Any:
    """What became of a run, without what differs from run to run."""
    steps = {k: (s, flow.counters(k), flow.job_id(k) is not None) for k, s in flow.states().items()}
    return flow.status, steps, sorted((j["status"], j["attempt"]) for j in flow.jobs())


def test_two_verbs_on_a_run_come_one_after_the_other(start: Flows, sessions: Sessions):
    """Both wait at the row of the run; what they answer and leave is what one after the other gives."""
    holder, a, b = sessions("holder", "a", "b")

    def serial(first: str, second: str) -> Any:
        flow, told = begin_run(start)
        return (
            answer(lambda: a.execute(VERBS[first], told)),
            answer(lambda: a.execute(VERBS[second], told)),
            outcome(flow),
        )

    def interleaved(first: str, second: str) -> Any:
        flow, told = begin_run(start)
        holder.begin().execute("select from runledger.workflow_runs where id = %s for no key update", [flow.id])
        one = a.start(VERBS[first], told)
        assert a.blocked(by=holder)
        two = b.start(VERBS[second], told)
        assert b.blocked()
        holder.commit()
        return answer(one.result), answer(two.result), outcome(flow)

    for first, second in itertools.combinations_with_replacement(VERBS, 2):
        got = interleaved(first, second)
        there, back = serial(first, second), serial(second, first)
        assert got in (there, (back[1], back[0], back[2])), (first, second)


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_completers_with_a_shared_dependent(start: Flows, sessions: Sessions, end: str):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["succeed a"], told)
    pending = b.start(VERBS["succeed b"], told)
    assert b.blocked(by=a)
    getattr(a, end)()
    assert pending.result()[0]["disposition"] == "SUCCEEDED"
    if end == "rollback":
        assert (flow.states()["c"], flow.counters("c")) == ("BLOCKED", (2, 1, 0))
        a.execute(VERBS["succeed a"], told)
    assert (flow.states()["c"], flow.counters("c")) == ("ENQUEUED", (2, 0, 0))
    assert len(flow.jobs()) == 4


def test_completers_with_disjoint_dependents(start: Flows, sessions: Sessions):
    flow = start(step("a"), step("b"), step("x", "a"), step("y", "b"), step("end", ["x", "y"]))
    told = {f"{k}{s}": flow.lease(k)[n] for k in "ab" for s, n in (("", "job_id"), ("_token", "lease_token"))}
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["succeed a"], told)
    pending = b.start(VERBS["succeed b"], told)
    assert b.blocked(by=a)
    a.commit()
    pending.result()
    assert flow.states() == {"a": "SUCCEEDED", "b": "SUCCEEDED", "x": "ENQUEUED", "y": "ENQUEUED", "end": "BLOCKED"}
    assert (flow.run["steps_active"], flow.run["steps_succeeded"]) == (3, 2)


def test_other_runs_do_not_wait(start: Flows, sessions: Sessions):
    (_, one), (other, two) = begin_run(start), begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["succeed a"], one)
    pending = b.start(VERBS["succeed a"], two)
    assert b.blocked() is False
    assert pending.result()[0]["disposition"] == "SUCCEEDED"
    assert other.states()["d"] == "ENQUEUED"
    a.commit()


def test_batches_over_the_same_runs_in_opposite_order(start: Flows, sessions: Sessions):
    """Two batches that name the same runs the other way round meet at the first run, never crosswise."""
    flows = [begin_run(start) for _ in range(6)]
    holder, a, b = sessions("holder", "a", "b")
    batch = "select * from runledger.finish_jobs(%s::jsonb)"

    def items(key: str, chosen: list[tuple[Flow, dict[str, Any]]]) -> list[str]:
        return [json.dumps([
            {"job_id": str(t[key]), "lease_token": t[f"{key}_token"], "outcome": "SUCCEEDED"} for _, t in chosen
        ])]  # fmt: skip

    last = max(flow.id for flow, _ in flows)
    holder.begin().execute("select from runledger.workflow_runs where id = %s for no key update", [last])
    one = a.start(batch, items("a", flows))
    assert a.blocked(by=holder)
    two = b.start(batch, items("b", flows[::-1]))
    assert b.blocked(by=a)
    holder.commit()
    assert {r["disposition"] for r in one.result() + two.result()} == {"SUCCEEDED"}
    assert {flow.states()["c"] for flow, _ in flows} == {"ENQUEUED"}


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_cancel_first_then_complete(start: Flows, sessions: Sessions, end: str):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["cancel run"], told)
    pending = b.start(VERBS["succeed a"], told)
    assert b.blocked(by=a)
    getattr(a, end)()
    [row] = pending.result()
    if end == "commit":
        assert (row["disposition"], row["code"]) == ("LEASE_LOST", "job.canceled")
        assert set(flow.states().values()) == {"CANCELED"}
        assert len(flow.jobs()) == 2
    else:
        assert row["disposition"] == "SUCCEEDED"
        assert flow.states()["d"] == "ENQUEUED"


def test_complete_first_then_cancel(start: Flows, sessions: Sessions):
    """The cancel sees the steps that the completion let go while it waited, and their jobs."""
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["succeed a"], told)
    pending = b.start(VERBS["cancel run"], told)
    assert b.blocked(by=a)
    a.commit()
    assert pending.result()[0]["disposition"] == "CANCELED"
    assert flow.states() == {"a": "SUCCEEDED"} | dict.fromkeys("bgcde", "CANCELED")
    assert Counter(j["status"] for j in flow.jobs()) == {"SUCCEEDED": 1, "CANCELED": 2}


def test_append_first_then_complete(start: Flows, sessions: Sessions):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["append"], told)
    pending = b.start(VERBS["succeed a"], told)
    assert b.blocked(by=a)
    a.commit()
    pending.result()
    assert (flow.states()["x"], flow.counters("x")) == ("ENQUEUED", (1, 0, 0))


@pytest.mark.parametrize(
    ("verb", "state", "counters"), [("succeed a", "ENQUEUED", (1, 0, 0)), ("fail a", "CANCELED", (1, 0, 1))]
)
def test_complete_first_then_append(start: Flows, sessions: Sessions, verb: str, state: str, counters: Any):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS[verb], told)
    pending = b.start(VERBS["append"], told)
    assert b.blocked(by=a)
    a.commit()
    assert [r["status"] for r in pending.result()] == [
        state,
        "BLOCKED" if state == "ENQUEUED" else "WAITING_FOR_EXTERNAL",
    ]
    assert (flow.states()["x"], flow.counters("x")) == (state, counters)


def test_a_gate_closed_meanwhile_takes_no_append(start: Flows, sessions: Sessions, q: Ledger):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["complete g"], told)
    pending = b.start(VERBS["append"], told)
    assert b.blocked(by=a)
    a.commit()
    with q.refused("workflow.append_window_not_open"):
        pending.result()
    assert "x" not in flow.states()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_two_appends_with_one_key_apply_once(start: Flows, sessions: Sessions, end: str):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["append"], told)
    pending = b.start(VERBS["append"], told)
    assert b.blocked(by=a)
    getattr(a, end)()
    assert {r["disposition"] for r in pending.result()} == {"ALREADY_APPLIED" if end == "commit" else "APPENDED"}
    assert flow.run["steps_total"] == 8


@pytest.mark.parametrize("first", ["complete g", "cancel run"])
def test_gate_against_cancel(start: Flows, sessions: Sessions, q: Ledger, first: str):
    flow, told = begin_run(start)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS[first], told)
    pending = b.start(VERBS["cancel run" if first == "complete g" else "complete g"], told)
    assert b.blocked(by=a)
    a.commit()
    if first == "complete g":
        assert pending.result()[0]["disposition"] == "CANCELED"
        assert (flow.states()["g"], flow.states()["e"]) == ("SUCCEEDED", "CANCELED")
    else:
        with q.refused("workflow.external_step_conflicting_completion_retry"):
            pending.result()
        assert (flow.states()["g"], flow.states()["e"]) == ("CANCELED", "CANCELED")


def expire(flow: Flow, key: str) -> None:
    flow.q.db.execute(
        "update runledger.job_queue set lease_expires_at = clock_timestamp() - interval '1 s' where id = %s",
        [flow.job_id(key)],
    )


def test_the_reaper_leaves_a_held_run_for_later(start: Flows, sessions: Sessions):
    (flow, told), (other, _) = begin_run(start), begin_run(start)
    expire(flow, "a")
    expire(other, "a")
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["succeed b"], told)
    pending = b.start(REAP)
    assert b.blocked() is False
    assert [r["job_id"] for r in pending.result()] == [other.job_id("a")]
    a.commit()
    assert [r["job_id"] for r in b.execute(REAP)] == [flow.job_id("a")]
    assert flow.states()["a"] == "ENQUEUED"


def test_the_reaper_first_then_a_completer(start: Flows, sessions: Sessions):
    flow, told = begin_run(start)
    flow.q.db.execute("update runledger.job_queue set max_attempts = 1 where id = %s", [told["a"]])
    expire(flow, "a")
    a, b = sessions("a", "b")
    assert [r["disposition"] for r in a.begin().execute(REAP)] == ["DEAD_LETTERED"]
    pending = b.start(VERBS["succeed b"], told)
    assert b.blocked(by=a)
    a.commit()
    pending.result()
    assert flow.states() == {
        "a": "FAILED",
        "b": "SUCCEEDED",
        "g": "WAITING_FOR_EXTERNAL",
        "c": "CANCELED",
        "d": "ENQUEUED",
        "e": "BLOCKED",
    }


def test_upkeep_waits_for_no_gate(start: Flows, clock: Clock, sessions: Sessions):
    flows = [start(gate("g", timeout_seconds=5, on_timeout="FAILED")) for _ in range(2)]
    clock.advance(6)
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["complete g"], {"run": flows[0].id})
    pending = b.start(MAINTAIN)
    assert b.blocked() is False
    assert {r["task"]: r["affected"] for r in pending.result()}["gate_timeouts"] == 1
    a.commit()
    assert [f.states()["g"] for f in flows] == ["SUCCEEDED", "FAILED"]


def test_upkeep_holds_no_run_but_those_whose_gates_it_ends(start: Flows, clock: Clock, sessions: Sessions):
    late, other = start(gate("g", timeout_seconds=5, on_timeout="FAILED")), start(gate("g"))
    clock.advance(6)
    a, b = sessions("a", "b")
    a.begin().execute("select runledger._time_out_gates(10, runledger._now())")
    assert b.start(VERBS["complete g"], {"run": other.id}).result()[0]["disposition"] == "SUCCEEDED"
    a.commit()
    assert (late.status, other.status) == ("COMPLETED_WITH_ERRORS", "SUCCEEDED")


def test_the_gates_of_a_run_that_hangs_do_not_keep_those_of_others(start: Flows, clock: Clock, sessions: Sessions):
    hangs = start(*(gate(f"g{n}", timeout_seconds=1, on_timeout="FAILED") for n in range(9)))
    late = start(gate("g", timeout_seconds=5, on_timeout="FAILED"))
    clock.advance(6)
    a, b = sessions("a", "b")
    a.begin().execute("select from runledger.workflow_runs where id = %(id)s for update", {"id": hangs.id})
    assert b.start("select runledger._time_out_gates(2, runledger._now()) as ended").result()[0]["ended"] == 1
    a.rollback()
    assert (late.status, set(hangs.states().values())) == ("COMPLETED_WITH_ERRORS", {"WAITING_FOR_EXTERNAL"})


def test_a_run_is_canceled_whatever_holds_its_finished_jobs(start: Flows, sessions: Sessions):
    flow = start(step("a"), step("b", "a"))
    flow.succeed("a")
    a, b = sessions("a", "b")
    a.begin().execute("select from runledger.job_queue where id = %(id)s for update", {"id": flow.job_id("a")})
    pending = b.start(VERBS["cancel run"], {"run": flow.id})
    assert b.blocked() is False
    assert pending.result()[0]["disposition"] == "CANCELED"
    a.rollback()
    assert flow.states() == {"a": "SUCCEEDED", "b": "CANCELED"}


def test_a_gate_that_times_out_is_completed_no_more(start: Flows, clock: Clock, sessions: Sessions, q: Ledger):
    flow = start(gate("g", timeout_seconds=5, on_timeout="FAILED"))
    clock.advance(6)
    a, b = sessions("a", "b")
    a.begin().execute(MAINTAIN)
    pending = b.start(VERBS["complete g"], {"run": flow.id})
    assert b.blocked(by=a)
    a.commit()
    with q.refused("workflow.external_step_conflicting_completion_retry"):
        pending.result()


def test_claim_first_then_cancel(start: Flows, sessions: Sessions):
    flow = start(step("a"))
    a, b = sessions("a", "b")
    [claimed] = a.begin().execute(CLAIM)
    pending = b.start(VERBS["cancel run"], {"run": flow.id})
    assert b.blocked(by=a)
    a.commit()
    assert pending.result()[0]["disposition"] == "CANCELED"
    job = flow.q.job(claimed["job_id"])
    assert (job["status"], job["lease_token"], flow.states()["a"]) == ("CANCELED", claimed["lease_token"], "CANCELED")


def test_cancel_first_then_claim(start: Flows, sessions: Sessions):
    flow = start(step("a"))
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["cancel run"], {"run": flow.id})
    assert b.execute(CLAIM) == []
    a.commit()
    assert b.execute(CLAIM) == []
    assert flow.jobs()[0]["status"] == "CANCELED"


def test_the_run_is_locked_before_its_jobs_and_they_before_its_steps(start: Flows, sessions: Sessions):
    flow, told = begin_run(start)
    holder, a, look = sessions("holder", "a", "look")
    holder.begin().execute("select from runledger.job_queue where id = %s for update", [told["a"]])
    for verb in ("cancel run", "succeed a", "cancel job a"):
        pending = a.start(VERBS[verb], told)
        assert a.blocked(by=holder)
        look.begin()
        look.execute("select from runledger.workflow_steps where workflow_run_id = %s for update nowait", [flow.id])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            look.execute("select from runledger.workflow_runs where id = %s for no key update nowait", [flow.id])
        look.rollback()
        look.execute("select pg_cancel_backend(%s)", [a.pid])
        with pytest.raises(psycopg.errors.QueryCanceled):
            pending.result()
    holder.rollback()
    assert flow.states()["a"] == "RUNNING"


@pytest.mark.parametrize("verb", VERBS)
def test_the_callers_lock_timeout_is_kept(start: Flows, sessions: Sessions, verb: str):
    flow, told = begin_run(start)
    holder, a = sessions("holder", "a")
    before = flow.snapshot()
    holder.begin().execute("select from runledger.workflow_runs where id = %s for no key update", [flow.id])
    a.execute("set lock_timeout = '50ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        a.execute(VERBS[verb], told)
    assert a.execute("show lock_timeout") == [{"lock_timeout": "50ms"}]
    holder.rollback()
    assert flow.snapshot() == before


def test_correction_against_claim(start: Flows, sessions: Sessions, q: Ledger):
    correct = "select * from runledger.correct_payload(%s, '2', 'r')"
    flow = start(step("a", payload=1))
    a, b = sessions("a", "b")
    a.begin().execute(correct, [flow.job_id("a")])
    assert b.execute(CLAIM) == []
    a.commit()
    [claimed] = a.begin().execute(CLAIM)
    assert claimed["payload"] == 2
    pending = b.start(correct.replace("'2'", "'3'"), [flow.job_id("a")])
    assert b.blocked(by=a)
    a.commit()
    with q.refused("job.invalid_state_transition"):
        pending.result()
    assert flow.step("a")["payload"] == 2


def test_who_asks_while_a_run_finishes_learns_of_it(start: Flows, sessions: Sessions):
    """Either the end sees that somebody waits, or who waits sees the end: no notification is missed."""
    flow = start(gate("g"))
    until = flow.q.db.value("select now() + interval '10 minutes'")
    wait = "select * from runledger.await_workflow(%(run)s, %(until)s)"
    told = {"run": flow.id, "until": until}
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["complete g"], told)
    pending = b.start(wait, told)
    assert b.blocked(by=a)
    a.commit()
    assert pending.result()[0]["is_finished"]
    other = start(gate("g"))
    told["run"] = other.id
    listener = flow.q.db.connect()
    listener.execute("listen runledger_run")
    assert not a.begin().execute(wait, told)[0]["is_finished"]
    pending = b.start(VERBS["complete g"], told)
    assert b.blocked(by=a)
    a.commit()
    pending.result()
    assert [n.payload for n in listener.notifies(timeout=30, stop_after=1)] == [str(other.id)]


@pytest.mark.parametrize("key", ["active_key", "idempotency_key"])
def test_a_hundred_racing_callers_make_one_run(db: Db, q: Ledger, key: str):
    def call(ledger: Ledger) -> list[Any]:
        return ledger.rows("enqueue_workflow", workflow_type="w", steps=[step("a"), gate("g", "a")], **{key: "k"})

    rows = list(itertools.chain.from_iterable(together(db, 100, call)))
    assert len({r["workflow_run_id"] for r in rows}) == 1
    known = "EXISTING_ACTIVE" if key == "active_key" else "EXISTING"
    assert Counter(r["disposition"] for r in rows) == {"INSERTED": 1, known: 99}
    assert db.value("select count(*) from runledger.job_queue") == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("key", ["active_key", "idempotency_key"])
def test_a_rival_with_the_key_is_waited_for(q: Ledger, sessions: Sessions, key: str, end: str):
    ask = f"""select * from runledger.enqueue_workflow('w', '[{{"key": "a", "job_type": "t"}}]', {key} => 'k')"""
    a, b = sessions("a", "b")
    [first] = a.begin().execute(ask)
    pending = b.start(ask)
    assert b.blocked(by=a)
    getattr(a, end)()
    [second] = pending.result()
    assert (second["workflow_run_id"] == first["workflow_run_id"]) == (end == "commit")
    assert (second["disposition"] == "INSERTED") == (end == "rollback")


def test_a_key_is_free_for_one_when_its_run_ends(start: Flows, sessions: Sessions):
    flow = start(gate("g"), active_key="k")
    ask = """select * from runledger.enqueue_workflow('w', '[{"key": "a", "job_type": "t"}]', active_key => 'k')"""
    a, b = sessions("a", "b")
    a.begin().execute(VERBS["complete g"], {"run": flow.id})
    # It still is the live run for everybody else: nobody waits for the end.
    assert b.execute(ask)[0]["workflow_run_id"] == flow.id
    a.commit()
    rows = list(
        itertools.chain.from_iterable(together(flow.q.db, 8, lambda ledger: ledger.conn.execute(ask).fetchall()))
    )
    assert len({r[0] for r in rows}) == 1
    assert [r[1] for r in rows].count("INSERTED") == 1


class Hand(threading.Thread):
    """Somebody who does to runs whatever comes to mind, a bounded number of times."""

    def __init__(self, ledger: Ledger, number: int, operations: int) -> None:
        super().__init__(daemon=True)
        self.q, self.rand, self.operations, self.number = ledger, random.Random(number), operations, number
        self.leases: list[dict[str, Any]] = []
        self.error: BaseException | None = None
        self.refused: Counter[str] = Counter()

    def run(self) -> None:
        try:
            for n in range(self.operations):
                try:
                    self.work(n)
                except psycopg.Error as error:
                    if not (error.diag.sqlstate or "").startswith("RL"):
                        raise
                    self.refused[json.loads(error.diag.message_detail or "{}")["code"]] += 1
        except BaseException as error:
            self.error = error

    def some(self, query: str) -> Any:
        rows = self.q.conn.execute(query).fetchall()
        return self.rand.choice(rows) if rows else None

    def work(self, n: int) -> None:
        match self.rand.randint(0, 15):
            case 0:
                steps = some_steps(self.rand, self.rand.randint(1, 12), [], "s")
                self.q.row(
                    "enqueue_workflow",
                    workflow_type="w",
                    steps=[s.document() for s in steps],
                    active_key=self.rand.choice((None, "k")),
                )
            case 1 | 2 | 3 | 4:
                claimed = self.q.claim(
                    self.rand.randint(1, 10), worker=f"w{self.number}", lease_seconds=self.rand.choice((1, 600))
                )
                self.leases += [{k: c[k] for k in ("job_id", "lease_token")} for c in claimed]
            case 5 | 6 | 7 | 8 | 9:
                self.rand.shuffle(self.leases)
                batch, self.leases = self.leases[:12], self.leases[12:]
                self.q.finish(*({**lease, **self.fate()} for lease in batch)) if batch else None
            case 10 | 11:
                if found := self.some(
                    "select workflow_run_id, step_key from runledger.workflow_steps where status = 'WAITING_FOR_EXTERNAL' order by id limit 5"
                ):
                    self.q.row(
                        "complete_external_step",
                        workflow_run_id=found[0],
                        step_key=found[1],
                        outcome=self.rand.choice(("SUCCEEDED", "FAILED")),
                    )
            case 12:
                if found := self.some(
                    "select workflow_run_id, step_key from runledger.workflow_steps where status = 'WAITING_FOR_EXTERNAL' order by id limit 5"
                ):
                    known = [
                        r[0]
                        for r in self.q.conn.execute(
                            "select step_key from runledger.workflow_steps where workflow_run_id = %s", [found[0]]
                        ).fetchall()
                    ]
                    steps = some_steps(self.rand, 3, known, f"a{self.number}_{n}_")
                    self.q.rows(
                        "append_workflow_steps",
                        workflow_run_id=found[0],
                        append_window=found[1],
                        mutation_key=f"{self.number}_{n}",
                        steps=[s.document() for s in steps],
                    )
            case 13:
                if found := self.some(
                    "select job_id from runledger.workflow_steps where status in ('ENQUEUED', 'RUNNING') order by id limit 10"
                ):
                    if self.rand.random() < 0.5:
                        self.q.row("correct_payload", job_id=found[0], payload=n, reason="r")
                    else:
                        self.q.row("cancel_job", job_id=found[0])
            case 14:
                self.q.reap()
                self.q.rows("run_maintenance")
            case _:
                if self.rand.random() < 0.3 and (
                    found := self.some(
                        "select id from runledger.workflow_runs where finished_at is null order by id limit 5"
                    )
                ):
                    self.q.row("cancel_workflow", workflow_run_id=found[0])

    def fate(self) -> dict[str, Any]:
        error = {"outcome": "FAILED", "error_code": "e.x", "error_message": "m"}
        return self.rand.choice(
            [{"outcome": "SUCCEEDED", "output": 1}] * 5
            + [error, {**error, "kind": "TERMINAL"}, {"outcome": "RELEASE", "reason": "r"}, {"outcome": "CONTINUE"}]
        )


def test_eight_sessions_on_random_runs_never_deadlock(db: Db, clock: Clock):
    q = Ledger(db, db.conn)
    q.define("t", retry_base_ms=1, retry_max_ms=1)
    rand = random.Random(1)
    for _ in range(12):
        q.row("enqueue_workflow", workflow_type="w", steps=[s.document() for s in some_steps(rand, 12, [], "s")])
    hands = [Hand(q.on(), n, 150) for n in range(8)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join(100)
    assert [hand.error for hand in hands if hand.error] == []
    assert not any(hand.is_alive() for hand in hands)
    # Nothing is stuck: once everybody is gone, what is left goes on to its end.
    for _ in range(300):
        clock.advance(700)
        q.reap(max_jobs=1000, retry_delay="0")
        if not db.value("select count(*) from runledger.workflow_runs where finished_at is null"):
            break
        if claimed := q.claim(1000, lease_seconds=3600):
            q.finish(
                *({"job_id": c["job_id"], "lease_token": c["lease_token"], "outcome": "SUCCEEDED"} for c in claimed)
            )
        for row in db.all(
            "select workflow_run_id, step_key from runledger.workflow_steps where status = 'WAITING_FOR_EXTERNAL'"
        ):
            q.row("complete_external_step", **row)
    assert db.value("select count(*) from runledger.workflow_runs where finished_at is null") == 0
    q.reap(max_jobs=1000)
    happened = dict(
        db.conn.execute("select event_type::text, count(*) from runledger.job_events group by 1").fetchall()
    )
    assert {"LEASED", "SUCCEEDED", "RETRY_SCHEDULED", "DEAD_LETTERED", "CANCELED", "REQUEUED"} <= set(happened)
    for hand in hands:
        hand.q.conn.close()
    assert db.value("select deadlocks from pg_stat_database where datname = current_database()") == 0
