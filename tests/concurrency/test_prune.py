"""prune against the verbs that act on what is finished: whatever the order, one after the other or refused with a code.

Unlike in test_interleavings no row is left to compare: what the verb answers and what the ledger holds must be what
"verb, then prune" or "prune, then verb" gives, or, since prune skips what others hold, what the verb alone gives.
"""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.concurrency.test_interleavings import answer
from tests.functions.operations.test_prune import counted
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.interleave import Session
from tests.support.ledger import Ledger

PRUNE = "select task, affected from runledger.prune('14 days', dead_letters_older_than => '14 days') where task in ('jobs', 'workflows')"
APPEND = """select * from runledger.append_workflow_steps(%(run)s, 'm', 'g', '[{"key": "x", "job_type": "t"}]')"""
VERBS = {
    "requeue_job of a dead job": ("dead", "select * from runledger.requeue_job(%(job)s)"),
    "requeue_job of a canceled job": ("canceled", "select * from runledger.requeue_job(%(job)s)"),
    "redrive_dead_letters": ("dead", "select * from runledger.redrive_dead_letters('r', %(type)s)"),
    "replay_job": ("succeeded", "select * from runledger.replay_job(%(job)s, 'k', 'r')"),
    "redact_job": ("succeeded", "select * from runledger.redact_job(%(job)s, 'r')"),
    "cancel_job": ("canceled", "select * from runledger.cancel_job(%(job)s)"),
    "succeed_job again": ("succeeded", "select * from runledger.succeed_job(%(job)s, %(token)s)"),
    "finish_jobs again": ("succeeded", "select * from runledger.finish_jobs(jsonb_build_array(jsonb_build_object("
                          "'job_id', %(job)s::uuid, 'lease_token', %(token)s::bigint, 'outcome', 'SUCCEEDED')))"),
    "claim_jobs": ("succeeded", "select * from runledger.claim_jobs('w', array[%(type)s])"),
    "enqueue_job with its key": ("keyed", "select * from runledger.enqueue_job(%(type)s, idempotency_key => 'k')"),
    "append_workflow_steps": ("run", APPEND),
    "complete_external_step": ("run", "select * from runledger.complete_external_step(%(run)s, 'g')"),
    "complete_external_step anew": ("run", "select * from runledger.complete_external_step(%(run)s, 'g', 'FAILED')"),
    "cancel_workflow": ("run", "select * from runledger.cancel_workflow(%(run)s)"),
    "redact_job of a step": ("run", "select * from runledger.redact_job(%(job)s, 'r')"),
    "succeed_job of a step again": ("run", "select * from runledger.succeed_job(%(job)s, %(token)s)"),
    "enqueue_workflow with its key": ("run", "select * from runledger.enqueue_workflow('w', '[{\"key\": \"a\", \"job_type\": \"t\"}]', idempotency_key => 'k2')"),
}  # fmt: skip
SKIPS = {"redrive_dead_letters", "claim_jobs"}
OLD = "interval '20 days'"


class Stage:
    """Things that finished twenty days ago, each of a job type of its own."""

    def __init__(self, db: Db, q: Ledger) -> None:
        self.db, self.q, self._numbers = db, q, itertools.count()

    def make(self, state: str) -> dict[str, Any]:
        name = f"x{next(self._numbers)}"
        self.q.define(name)
        thing: dict[str, Any] = {"type": name, "job": None, "token": 0, "run": None}
        if state == "run":
            flow: Flow = Flows(self.q)(gate("g"), step("a", "g", job_type=name))
            flow.append(step("z", "a", job_type=name), window="g", key="before")
            flow.complete("g")
            lease = flow.lease("a")
            flow.succeed("a", "z")
            thing |= {"run": flow.id, "job": flow.job_id("a"), "token": lease["lease_token"]}
        else:
            job_id = self.q.enqueue(name, idempotency_key="k" if state == "keyed" else None)
            lease = self.q.hold(job_id, name)
            thing |= {"job": job_id, "token": lease["lease_token"]}
            if state == "dead":
                self.q.fail(lease, kind="TERMINAL")
            elif state == "canceled":
                self.q.row("cancel_job", job_id=job_id)
                self.q.finish_one(lease, "SUCCEEDED")
            else:
                self.q.succeed(lease)
        for table, columns in {
            "workflow_runs": ("finished_at", "updated_at", "created_at"),
            "job_queue": ("finished_at", "updated_at", "created_at"),
        }.items():
            moved = ", ".join(f"{c} = {c} - {OLD}" for c in columns)
            key = "job_type = %(type)s" if table == "job_queue" else "id = %(run)s"
            self.db.execute(f"update runledger.{table} set {moved} where {key}", thing)
        self.db.execute(
            f"update runledger.job_events set occurred_at = occurred_at - {OLD} where job_id in"
            " (select id from runledger.job_queue where job_type = %(type)s)",
            thing,
        )
        self.db.execute(
            f"update runledger.job_attempts set leased_at = leased_at - {OLD}, started_at = started_at - {OLD},"
            f" finished_at = finished_at - {OLD} where job_id in"
            " (select id from runledger.job_queue where job_type = %(type)s)",
            thing,
        )
        # As maintenance does all the time; a transaction that is open would hold it up.
        counted(self.db)
        return thing

    def left(self, thing: dict[str, Any]) -> tuple[Any, ...]:
        """What the ledger holds of it, without ids and times; then nothing, so that the next one stands alone."""
        tables = tuple(
            tuple(self.db.column(query, thing))
            for query in (
                "select (status, run_number, attempt, payload)::text from runledger.job_queue where job_type = %(type)s order by id",
                "select (a.run_number, a.attempt, a.disposition)::text from runledger.job_attempts a"
                " join runledger.job_queue q on q.id = a.job_id where q.job_type = %(type)s order by a.leased_at",
                "select count(*) from runledger.job_attempts where job_id = %(job)s",
                "select count(*) from runledger.job_dead_letters where job_id = %(job)s",
                "select (status, pruned_at is null)::text from runledger.workflow_runs where id = %(run)s",
                "select (step_key, status)::text from runledger.workflow_steps where workflow_run_id = %(run)s order by 1",
            )
        )
        assert self.db.findings() == []
        return tables


@pytest.fixture
def begun(db: Db, q: Ledger, clock: Clock) -> Stage:
    """Ids are drawn from the clock of the server, so the clock of the ledger goes ahead and things are moved back."""
    clock.advance(20 * 86400)
    # Days that are over first: their partitions are not what this is about.
    while any(r["more"] for r in q.rows("prune")):
        pass
    q.row("set_retention", finished=timedelta(0), dead_letters=timedelta(0), history=timedelta(0))
    return Stage(db, q)


def serial(stage: Stage, a: Session, state: str, *statements: str) -> tuple[Any, ...]:
    thing = stage.make(state)
    answers = [_answer(lambda s=s: a.execute(s, thing)) for s in statements]
    return (*answers, stage.left(thing))


def _answer(call: Any) -> Any:
    """Dispositions or the code; of prune, nothing: how many rows it deletes follows from what is left."""
    said = answer(call)
    return said if isinstance(said, str) or not said or said[0] != (None, None, None) else "PRUNED"


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("prune_first", [True, False], ids=["prune waits first", "verb waits first"])
def test_prune_and_a_verb_come_one_after_the_other(begun: Stage, sessions: Any, verb: str, prune_first: bool):
    state, statement = VERBS[verb]
    opener, a, b = sessions("gate", "a", "b")
    prune_then_verb = serial(begun, a, state, PRUNE, statement)
    verb_then_prune = serial(begun, a, state, statement, PRUNE)
    verb_alone = serial(begun, a, state, statement)
    nothing = begun.left(begun.make(state))
    begun.q.conn.execute(PRUNE)
    thing = begun.make(state)
    lock = "workflow_runs where id = %(run)s" if state == "run" else "job_queue where id = %(job)s"
    opener.begin().execute(f"select from runledger.{lock} for update", thing)
    order = [(b, PRUNE), (a, statement)] if prune_first else [(a, statement), (b, PRUNE)]
    pending = []
    for session, text in order:
        pending.append(session.start(text, thing))
        session.blocked()
    opener.commit()
    said = {text: _answer(p.result) for (_session, text), p in zip(order, pending, strict=True)}
    left = begun.left(thing)
    # Prune never waits: it has passed by what the gate held.
    assert said[PRUNE] == "PRUNED"
    assert (said[statement], left) in [
        (prune_then_verb[1], prune_then_verb[2]),
        (verb_then_prune[0], verb_then_prune[2]),
        (verb_alone[0], verb_alone[1]),
        *([((), nothing)] if verb in SKIPS else []),
    ]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_meets_prune_in_its_middle_waits_or_passes_by(begun: Stage, sessions: Any, verb: str):
    """Prune has deleted and not yet committed: the verb finds nothing once it has, and all if it is taken back."""
    state, statement = VERBS[verb]
    a, b = sessions("a", "b")
    prune_then_verb = serial(begun, a, state, PRUNE, statement)
    verb_alone = serial(begun, a, state, statement)
    begun.q.conn.execute(PRUNE)
    for end, expected in (("commit", prune_then_verb[1]), ("rollback", verb_alone[0])):
        thing = begun.make(state)
        b.begin().execute(PRUNE)
        pending = a.start(statement, thing)
        waited = a.blocked(by=b)
        getattr(b, end)()
        said = _answer(pending.result)
        if waited:
            assert said == expected, (end, said)
        else:
            assert said in (expected, verb_alone[0], prune_then_verb[1], ()), (end, said)
        begun.left(thing)
        begun.q.conn.execute(PRUNE)


def test_prune_passes_by_what_a_verb_has_in_hand(begun: Stage, sessions: Any):
    a, b = sessions("a", "b")
    for state, statement in dict.fromkeys(VERBS.values()):
        if state == "run":
            continue
        thing = begun.make(state)
        a.begin()
        _answer(lambda s=statement, t=thing: a.execute(s, t))
        if a.conn.info.transaction_status.name == "INERROR":
            a.rollback()
            continue
        pending = b.start(PRUNE)
        assert b.blocked() is False, statement
        pending.result()
        a.commit()
        begun.left(thing)


def test_two_prunes_share_the_work(begun: Stage, q: Ledger, sessions: Any):
    """A call and maintenance: neither waits, nothing is deleted twice, nothing is left."""
    made: list[UUID] = [begun.make("succeeded")["job"] for _ in range(6)]
    q.row("set_retention", finished=timedelta(14), dead_letters=timedelta(90), history=timedelta(14))
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.prune(max_rows => 4)")
    pending = b.start("select * from runledger.run_maintenance()")
    assert b.blocked() is False
    rows = {r["task"]: r["affected"] for r in pending.result()}
    a.commit()
    left = begun.db.value("select count(*) from runledger.job_queue where id = any (%s)", [made])
    # The call held four jobs and deleted two of them; the events of all six have no partition.
    assert (rows["prune"], left) == (4 + 6 * 3, 2)


def test_what_retention_was_before_is_what_the_rival_left(q: Ledger, sessions: Any):
    """The record of an operator's act names what that act replaced, not what stood there when the call came."""
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.set_retention('3 days')")
    pending = b.start("select * from runledger.set_retention(history => '5 days')")
    assert b.blocked(by=a)
    a.commit()
    [told] = pending.result()
    assert (told["finished"], told["history"]) == (timedelta(days=3), timedelta(days=5))
    before = [r["detail"]["before"] for r in q.rows("list_operator_actions", action="set_retention")]
    assert [b["finished"] for b in before] == ["3 days", "14 days"]
    assert all(set(b) == {"finished", "dead_letters", "history", "updated_by"} for b in before)
