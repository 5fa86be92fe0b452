"""Every verb against every other on one job: whatever the order, it is as if one had gone before the other.

A gate holds the row of the job. Both verbs are sent and come to wait at it, or skip it; then it opens. What they
answer and what the ledger holds afterwards must be what "first A, then B" or "first B, then A" gives on such a job,
or, for verbs that skip what others hold, what the other one alone gives. All verbs of the ledger, those of workflows,
schedules and upkeep too, meet in explorer.py; here are those of one job, in each of its states, every time.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import psycopg
import pytest

from tests.support.database import Db
from tests.support.ledger import Ledger
from tests.support.servers import ROOT

ONE = "array[%(job_id)s::uuid], array[%(token)s::bigint]"
VERBS = {
    "enqueue_job": "select * from runledger.enqueue_job(%(type)s, idempotency_key => 'k')",
    "enqueue_jobs": "select * from runledger.enqueue_jobs(jsonb_build_array(jsonb_build_object('job_type', %(type)s::text, 'idempotency_key', 'k')))",
    "claim_jobs": "select * from runledger.claim_jobs('w2', array[%(type)s], 5)",
    "start_jobs": f"select * from runledger.start_jobs({ONE})",
    "heartbeat_jobs": f"select * from runledger.heartbeat_jobs({ONE})",
    "report_progress": "select * from runledger.report_progress(%(job_id)s, %(token)s, done => 1, total => 2, checkpoint => '1')",
    "succeed_job": "select * from runledger.succeed_job(%(job_id)s, %(token)s)",
    "fail_job": "select * from runledger.fail_job(%(job_id)s, %(token)s, 'e', 'm')",
    "fail_job for good": "select * from runledger.fail_job(%(job_id)s, %(token)s, 'e', 'm', kind => 'TERMINAL')",
    "continue_job": "select * from runledger.continue_job(%(job_id)s, %(token)s)",
    "release_job": "select * from runledger.release_job(%(job_id)s, %(token)s, 'r')",
    "finish_jobs": "select * from runledger.finish_jobs(jsonb_build_array(jsonb_build_object('job_id', %(job_id)s::uuid, 'lease_token', %(token)s::bigint, 'outcome', 'SUCCEEDED')))",
    "reap_expired_leases": "select * from runledger.reap_expired_leases()",
    "cancel_job": "select * from runledger.cancel_job(%(job_id)s)",
    "requeue_job": "select * from runledger.requeue_job(%(job_id)s)",
    "redrive_dead_letters": "select * from runledger.redrive_dead_letters('x', %(type)s)",
    "replay_job": "select * from runledger.replay_job(%(job_id)s, 'k', 'r')",
    "correct_payload": "select * from runledger.correct_payload(%(job_id)s, '9', 'r')",
    "redact_job": "select * from runledger.redact_job(%(job_id)s, 'r')",
    "log_job": "select 'LOGGED' as disposition from runledger.log_job(%(job_id)s, 'info', 'm', '{}', %(token)s)",
}  # fmt: skip
# What there is no order to find in: definitions, workers and grants have rows of their own, and bodies are only read.
APART = {
    "define_job", "enable_job_type", "disable_job_type", "pause_job_type", "resume_job_type", "set_runtime_config",
    "sync_catalog", "register_worker", "idle_worker", "deregister_worker", "run_maintenance", "prune", "set_retention", "grant_access", "revoke_access", "job_payload", "job_log_payloads", "log_jobs",
}  # fmt: skip
SKIPS = {"claim_jobs", "heartbeat_jobs", "reap_expired_leases", "redrive_dead_letters"}
LEASE_VERBS = [
    "report_progress",
    "succeed_job",
    "fail_job",
    "fail_job for good",
    "continue_job",
    "release_job",
    "finish_jobs",
]
STATES = {
    "pending": ["claim_jobs", "cancel_job", "correct_payload", "enqueue_job", "enqueue_jobs", "requeue_job", "finish_jobs"],
    "leased": [*LEASE_VERBS, "heartbeat_jobs", "cancel_job", "claim_jobs", "log_job"],
    "unstarted": ["start_jobs", "release_job", "cancel_job", "succeed_job", "heartbeat_jobs"],
    "expired": ["reap_expired_leases", "succeed_job", "finish_jobs", "heartbeat_jobs", "cancel_job", "release_job", "start_jobs"],
    "canceled": ["finish_jobs", "release_job", "requeue_job", "heartbeat_jobs", "cancel_job", "redact_job"],
    "dead": ["requeue_job", "redrive_dead_letters", "redact_job", "cancel_job", "correct_payload", "finish_jobs"],
    "succeeded": ["replay_job", "redact_job", "requeue_job", "succeed_job", "cancel_job"],
}  # fmt: skip


class Stage:
    """Jobs in a given state, each of a type of its own so that a claim finds no other."""

    def __init__(self, db: Db, q: Ledger, sessions: Any) -> None:
        self.db, self.q = db, q
        self.gate, self.a, self.b = sessions("gate", "a", "b")
        self._numbers = itertools.count()

    def job(self, state: str) -> dict[str, Any]:
        name = f"x{next(self._numbers)}"
        self.q.define(name)
        job_id = self.q.enqueue(name, idempotency_key="k")
        token = 0
        if state != "pending":
            token = self.q.hold(job_id, name, lease_seconds=3600, prestart=state == "unstarted")["lease_token"]
        lease = {"job_id": job_id, "lease_token": token}
        if state == "expired":
            self.db.execute(
                "update runledger.job_queue set lease_expires_at = clock_timestamp() - interval '1 s' where id = %s",
                [job_id],
            )
        elif state == "canceled":
            self.q.row("cancel_job", job_id=job_id)
        elif state == "dead":
            self.q.fail(lease, kind="TERMINAL")
        elif state == "succeeded":
            self.q.succeed(lease)
        return {"type": name, "job_id": job_id, "token": token}

    def result(self, job: dict[str, Any], answers: list[Any]) -> tuple[Any, ...]:
        """Answers and the ledger of this job, without what differs from job to job."""
        row = self.db.job(job["job_id"])
        return (
            *answers,
            (
                row["status"].lower(),
                row["run_number"],
                row["attempt"],
                row["lease_token"] is not None,
                row["payload"],
                row["checkpoint"],
                row["stage"],
            ),
            tuple((a["run_number"], a["attempt"], a["disposition"]) for a in self.db.attempts(job["job_id"])),
            tuple(self.q.told(job["job_id"])),
            self.db.value("select count(*) from runledger.job_queue where job_type = %s", [job["type"]]),
        )

    def clear(self, job: dict[str, Any]) -> None:
        """Leave nothing that the next reaping would find."""
        self.db.execute(
            "update runledger.job_queue set lease_expires_at = clock_timestamp() + interval '1 h' where id = %s and lease_expires_at < clock_timestamp()",
            [job["job_id"]],
        )


def answer(call: Any) -> Any:
    """Dispositions, or the code of the error."""
    try:
        rows = call()
    except psycopg.Error as error:
        if not (error.diag.sqlstate or "").startswith("RL"):
            raise
        return json.loads(error.diag.message_detail or "")["code"]
    return tuple((r.get("disposition", r.get("job_type") and "ROW"), r.get("replayed"), r.get("code")) for r in rows)


def serial(stage: Stage, state: str, first: str, second: str | None) -> tuple[Any, Any, tuple[Any, ...]]:
    job = stage.job(state)
    one = answer(lambda: stage.a.execute(VERBS[first], job))
    two = answer(lambda: stage.a.execute(VERBS[second], job)) if second else None
    rest = stage.result(job, [])
    stage.clear(job)
    return one, two, rest


def interleaved(stage: Stage, state: str, first: str, second: str) -> tuple[Any, Any, tuple[Any, ...]]:
    job = stage.job(state)
    stage.gate.begin().execute("select from runledger.job_queue where id = %s for update", [job["job_id"]])
    one = stage.a.start(VERBS[first], job)
    stage.a.blocked()
    two = stage.b.start(VERBS[second], job)
    stage.b.blocked()
    stage.gate.commit()
    answers = answer(one.result), answer(two.result)
    rest = stage.result(job, [])
    stage.clear(job)
    return (*answers, rest)


@pytest.mark.parametrize("state", STATES)
def test_two_verbs_on_a_job_come_one_after_the_other(db: Db, q: Ledger, sessions: Any, state: str):
    stage = Stage(db, q, sessions)
    alone = {verb: serial(stage, state, verb, None) for verb in STATES[state]}
    skipped = {verb: answer_when_held(stage, state, verb) for verb in STATES[state] if verb in SKIPS}
    failures = []
    for first, second in itertools.combinations_with_replacement(STATES[state], 2):
        got = interleaved(stage, state, first, second)
        a_then_b = serial(stage, state, first, second)
        b_then_a = serial(stage, state, second, first)
        allowed = [a_then_b, (b_then_a[1], b_then_a[0], b_then_a[2])]
        if first in skipped:
            allowed.append((skipped[first], alone[second][0], alone[second][2]))
        if second in skipped:
            allowed.append((alone[first][0], skipped[second], alone[first][2]))
        if first in skipped and second in skipped:
            allowed.append((skipped[first], skipped[second], untouched(stage, state)))
        if got not in allowed:
            failures.append((first, second, got, allowed))
    assert not failures


def answer_when_held(stage: Stage, state: str, verb: str) -> Any:
    """What a verb that skips says of a job that somebody holds."""
    job = stage.job(state)
    stage.gate.begin().execute("select from runledger.job_queue where id = %s for update", [job["job_id"]])
    pending = stage.a.start(VERBS[verb], job)
    assert stage.a.blocked() is False
    said = answer(pending.result)
    stage.gate.commit()
    stage.clear(job)
    return said


def untouched(stage: Stage, state: str) -> tuple[Any, ...]:
    job = stage.job(state)
    rest = stage.result(job, [])
    stage.clear(job)
    return rest


def test_every_verb_has_its_place_here(db: Db):
    """Verbs of workflows and of schedules act on other rows; they are set against each other with their own tests."""
    public = set(
        db.column(
            "select proname::text from pg_proc where pronamespace = 'runledger'::regnamespace and proname !~ '^_'"
            " and provolatile = 'v'"
        )
    )
    elsewhere = {
        path.stem for area in ("workflows", "schedules") for path in (ROOT / "sql/functions" / area).glob("[a-z]*.sql")
    }
    placed = {verb.split()[0] for verb in VERBS}
    assert public - elsewhere == placed | APART
    assert not placed & APART
    assert {verb.split()[0] for verbs in STATES.values() for verb in verbs} == placed


def test_the_search_finds_a_lost_update(db: Db, q: Ledger, sessions: Any):
    """A verb that looks before it locks, as the explorer must notice."""
    db.execute(
        """create function runledger.careless(job_id uuid) returns table (disposition text) language plpgsql security definer as $$
           declare v_run integer;
           begin
             select q.run_number into v_run from runledger.job_queue q where q.id = careless.job_id and q.status = 'DEAD_LETTERED';
             if not found then return; end if;
             update runledger.job_queue q set priority = q.priority, run_number = v_run + 1 where q.id = careless.job_id;
             disposition := 'RERUN'; return next;
             update runledger.job_queue q set status = 'CANCELED' where q.id = careless.job_id;
           end $$"""
    )
    VERBS["careless"] = "select * from runledger.careless(%(job_id)s)"
    try:
        stage = Stage(db, q, sessions)
        got = interleaved(stage, "dead", "careless", "careless")
        assert got != serial(stage, "dead", "careless", "careless")
    finally:
        del VERBS["careless"]
    db.execute("drop function runledger.careless(uuid)")
    db.execute(
        "truncate runledger.job_queue, runledger.job_events, runledger.job_attempts, runledger.job_dead_letters cascade"
    )
