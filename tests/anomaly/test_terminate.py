"""A call that is ended in its middle leaves the ledger as it was: backend terminated, canceled, or timed out.

A second session holds what the verb needs next, until the server says that the verb waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import psycopg
import pytest

from tests.anomaly.world import World, contents
from tests.support.database import Db
from tests.support.interleave import Session

Sessions = Callable[..., tuple[Session, ...]]
LEASE = "%(job_id)s, %(lease_token)s"
ITEM = "'job_id', %(job_id)s::uuid, 'lease_token', %(lease_token)s::bigint"


@dataclass(frozen=True, slots=True)
class Verb:
    """A call, and the statements that stop it: a row it locks first, then tables it writes, up to the last one."""

    call: str
    gates: tuple[str, ...]


def row(table: str, where: str) -> str:
    return f"select from runledger.{table} where {where} for update"


def writes(*tables: str) -> tuple[str, ...]:
    return tuple(f"lock table runledger.{table} in share mode" for table in tables)


JOB = row("job_queue", "id = %(job_id)s")
DEFINITION = row("job_definitions", "job_type = 'work'")
RUN = row("workflow_runs", "id = %(run)s")
SCHEDULE = row("job_schedules", "name = 'plan'")
WORKER = row("workers", "worker_id = 'w'")
VERBS = {
    "claim_jobs": Verb("claim_jobs('w', '{work}')", writes("job_queue", "job_attempts", "job_events")),
    "start_jobs": Verb("start_jobs(array[%(unstarted)s::uuid], array[%(unstarted_token)s::bigint])",
                       (row("job_queue", "id = %(unstarted)s"), *writes("job_attempts", "job_queue", "job_events"))),
    "heartbeat_jobs": Verb("heartbeat_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint])", writes("job_queue")),
    "report_progress": Verb(f"report_progress({LEASE}, 1, 2, stage => 'half')", (JOB, *writes("job_queue", "job_events"))),
    "succeed_job": Verb(f"succeed_job({LEASE}, '1')", (JOB, *writes("job_queue", "job_attempts", "job_events"))),
    "fail_job": Verb(f"fail_job({LEASE}, 'c', 'm')", (JOB, *writes("job_queue", "job_attempts", "job_events"))),
    "fail_job for good": Verb(f"fail_job({LEASE}, 'c', 'm', 'TERMINAL')", (JOB, *writes("job_dead_letters", "job_events"))),
    "continue_job": Verb(f"continue_job({LEASE}, '1 h', '1')", (JOB, *writes("job_queue", "job_events"))),
    "release_job": Verb(f"release_job({LEASE}, 'stop')", (JOB, *writes("job_attempts", "job_events"))),
    "finish_jobs": Verb(f"finish_jobs(jsonb_build_array(jsonb_build_object({ITEM}, 'outcome', 'SUCCEEDED')))",
                        (JOB, *writes("job_queue", "job_attempts", "job_events"))),
    "cancel_job": Verb("cancel_job(%(job_id)s, 'stop')", (JOB, *writes("job_queue", "job_attempts", "job_events"))),
    "requeue_job": Verb("requeue_job(%(dead)s)", (row("job_queue", "id = %(dead)s"), *writes("job_events", "job_queue"))),
    "redrive_dead_letters": Verb("redrive_dead_letters('again')", writes("job_events", "job_queue")),
    "replay_job": Verb("replay_job(%(succeeded)s, 'k', 'r')",
                       (row("job_queue", "id = %(succeeded)s"), *writes("job_queue", "job_replays", "job_events"))),
    "enqueue_job": Verb("enqueue_job('work', idempotency_key => 'k')", writes("job_queue", "job_events")),
    "enqueue_jobs": Verb("enqueue_jobs('[{\"job_type\": \"work\"}, {\"job_type\": \"work\", \"idempotency_key\": \"k\"}]')",
                         writes("job_queue", "job_events")),
    "correct_payload": Verb("correct_payload(%(pending)s, '2', 'r')",
                            (row("job_queue", "id = %(pending)s"), *writes("job_queue", "job_events"))),
    "redact_job": Verb("redact_job(%(dead)s, 'r')",
                       (row("job_queue", "id = %(dead)s"), *writes("job_queue", "job_dead_letters", "job_events"))),
    "log_job": Verb("log_job(%(job_id)s, 'info', 'm')", writes("job_logs")),
    "log_jobs": Verb("log_jobs(jsonb_build_array(jsonb_build_object('job_id', %(job_id)s::uuid, 'level', 'info', 'message', 'm')))",
                     writes("job_logs")),
    "enqueue_workflow": Verb(
        "enqueue_workflow('flow', '[{\"key\": \"a\", \"job_type\": \"work\"}, {\"key\": \"b\", \"external\": true, \"after_success\": [\"a\"]}]',"
        " idempotency_key => 'k', active_key => 'k')",
        writes("workflow_runs", "workflow_steps", "workflow_step_dependencies", "job_queue", "job_events")),
    "append_workflow_steps": Verb(
        "append_workflow_steps(%(run)s, 'm', 'gate', '[{\"key\": \"a\", \"job_type\": \"work\"}]')",
        (RUN, *writes("workflow_run_mutations", "workflow_steps", "workflow_runs", "job_queue", "job_events"))),
    "complete_external_step": Verb("complete_external_step(%(run)s, 'gate', output => '1')",
                                   (RUN, *writes("workflow_steps", "workflow_runs", "job_queue", "job_events"))),
    "cancel_workflow": Verb("cancel_workflow(%(run)s, 'stop')", (RUN, *writes("workflow_steps", "workflow_runs"))),
    "await_workflow": Verb("await_workflow(%(run)s, now() + interval '1 minute')", (RUN, *writes("workflow_runs"))),
    "succeed_job of a step": Verb("succeed_job(%(step_job)s, %(step_token)s, '1')", (
        row("workflow_runs", "id = %(step_run)s"), row("job_queue", "id = %(step_job)s"),
        *writes("job_queue", "workflow_steps", "workflow_runs", "job_events"))),
    "cancel_job of a step": Verb("cancel_job(%(step_job)s)", (
        row("workflow_runs", "id = %(step_run)s"), row("job_queue", "id = %(step_job)s"),
        *writes("job_queue", "workflow_steps", "workflow_runs", "job_events"))),
    "define_job": Verb("define_job('work', max_attempts => 5)", (DEFINITION, *writes("job_definitions"))),
    "define_job anew": Verb("define_job('new', is_enabled => false)", writes("job_definitions")),
    "pause_job_type": Verb("pause_job_type('work')", (DEFINITION,)),
    "disable_job_type": Verb("disable_job_type('work')", (DEFINITION,)),
    "set_runtime_config": Verb("set_runtime_config('work', '{}')", writes("job_runtime_configs")),
    "register_worker": Verb("register_worker('w', '{work,other}')", (WORKER, *writes("workers"))),
    "idle_worker": Verb("idle_worker('w', now() + interval '1 minute')", (WORKER, *writes("workers"))),
    "deregister_worker": Verb("deregister_worker('w')", (WORKER, *writes("workers"))),
    "reap_expired_leases": Verb("reap_expired_leases()", writes("job_queue", "job_attempts", "job_events")),
    "upsert_schedule": Verb("upsert_schedule('plan', 'step', '@monthly')",
                            (SCHEDULE, row("job_definitions", "job_type = 'step'"), *writes("job_schedules"))),
    "upsert_schedule anew": Verb("upsert_schedule('new', 'step', '@monthly')", writes("job_schedules")),
    "sync_catalog": Verb("sync_catalog('c', '[{\"job_type\": \"step\", \"priority\": 7}, {\"job_type\": \"new\"}]',"
                         " '[{\"name\": \"plan\", \"job_type\": \"step\", \"cron\": \"@monthly\"}]')",
                         (SCHEDULE, row("job_definitions", "job_type = 'step'"), *writes("job_definitions", "job_schedules"))),
    "pause_schedule": Verb("pause_schedule('plan')", (SCHEDULE, *writes("job_schedules"))),
    "resume_schedule": Verb("resume_schedule('plan', '2036-01-01Z')", (SCHEDULE, *writes("job_schedules"))),
    "delete_schedule": Verb("delete_schedule('plan')", (SCHEDULE, *writes("job_schedules"))),
    "fire_due_schedules": Verb("fire_due_schedules()", writes("job_queue", "job_events", "job_schedules")),
    "prune": Verb("prune('1 microsecond', dead_letters_older_than => '1 microsecond')",
                  writes("prune_passes", "workflow_runs", "job_attempts", "job_dead_letters", "job_queue", "job_events_default")),
    "set_retention": Verb("set_retention('3 days')", writes("retention_settings", "operator_actions")),
    "run_maintenance": Verb("run_maintenance()", writes("job_queue", "job_events")),
    "grant_access": Verb("grant_access('runledger_stranger', 'worker')", writes("access_grants", "operator_actions")),
    "revoke_access": Verb("revoke_access('runledger_stranger')", writes("access_grants", "operator_actions")),
    "job_payload": Verb("job_payload(%(job_id)s)", writes("operator_actions")),
    "job_log_payloads": Verb("job_log_payloads(%(job_id)s, '{1}')", writes("operator_actions")),
    "get_workflow_step": Verb("get_workflow_step(%(run)s, 'gate')", writes("operator_actions")),
}  # fmt: skip
# These put off what they cannot settle or fire, whatever the reason but a shutdown: with a lock_timeout they report DEFERRED.
SETTLES_APART = {"reap_expired_leases", "run_maintenance", "fire_due_schedules"}
READ_ONLY = {
    "error_codes", "explain_workflow", "fsck", "why", "why_workflow", "get_job", "get_workflow", "list_workflows", "step_inputs", "validate_workflow",
    "workflow_mermaid", "workflow_result", "workflow_tree", "leased_jobs", "list_jobs", "runtime_config", "schema_info",
    # The same function underneath as their siblings.
    "enable_job_type", "resume_job_type",
}  # fmt: skip


def test_every_verb_that_writes_is_stopped_here(db: Db):
    found = set(
        db.column(
            "select proname from pg_proc where pronamespace = 'runledger'::regnamespace and proname not like '\\_%'"
            " and provolatile = 'v'"
        )
    )
    assert found - READ_ONLY == {name.split()[0] for name in VERBS}


def prepared(db: Db, *, to_reap: bool) -> dict[str, object]:
    """A world with a job to claim, an unstarted claim and perhaps an expired lease; what the calls name of it."""
    world = World(db)
    db.execute("select runledger.define_job('step')")
    db.execute("select runledger.upsert_schedule('plan', 'step', '@yearly')")
    db.execute("select runledger.grant_access('runledger_stranger', 'observer')")
    db.execute("select runledger.enqueue_job('work')")
    unstarted = db.one("select job_id, lease_token from runledger.claim_jobs('w', '{work}', 1, 600, true)")
    if to_reap:
        db.execute(
            "update runledger.job_queue set lease_expires_at = lease_expires_at - interval '2 h' where id = %s",
            [world.leased().job_id],
        )
    step_run = db.value(
        "select workflow_run_id from runledger.enqueue_workflow('flow', '[{\"key\": \"a\", \"job_type\": \"step\"},"
        " {\"key\": \"b\", \"job_type\": \"step\", \"after_success\": [\"a\"]}]')"
    )
    step = db.one("select job_id, lease_token from runledger.claim_jobs('w', '{step}')")
    db.execute("select runledger.enqueue_job('work')")
    return {
        "job_id": world.lease.job_id, "lease_token": world.lease.lease_token, "pending": world.pending,
        "dead": world.dead, "succeeded": world.succeeded, "unstarted": unstarted["job_id"],
        "unstarted_token": unstarted["lease_token"], "run": world.run_id, "step_run": step_run,
        "step_job": step["job_id"], "step_token": step["lease_token"],
    }  # fmt: skip


# What ends the session comes last.
FAULTS = ("cancel", "statement_timeout", "lock_timeout", "terminate")
# Of the statement, counted from its start; of a lock, counted from when it waits.
LIMITS = {"statement_timeout": "60ms", "lock_timeout": "10ms"}
SETTINGS = "select name, setting from pg_settings where name !~ '[.]' order by name"  # those with a dot come with their library


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize("name", VERBS)
def test_a_call_ended_in_its_middle_changes_nothing(db: Db, sessions: Sessions, name: str):
    verb = VERBS[name]
    arguments = prepared(db, to_reap=name in ("reap_expired_leases", "run_maintenance"))
    if name in ("fire_due_schedules", "run_maintenance"):
        db.execute("select runledger.upsert_schedule('due', 'step', '@yearly', next_fire_at => '2020-01-01Z')")
    query = f"select * from runledger.{verb.call}"
    before = contents(db)
    # The owner may only read and add what records operators: enough for such a lock since PostgreSQL 17 alone (MAINTAIN).
    (holder,) = sessions("holder", admin=True)
    for gate in verb.gates:
        (caller,) = sessions("caller")
        for fault in FAULTS:
            if fault == "lock_timeout" and name in SETTLES_APART:
                continue
            caller.execute("reset statement_timeout; reset lock_timeout")
            setting = fault if fault in LIMITS else "lock_timeout"
            value = LIMITS.get(fault, "31s")
            caller.execute(f"set {setting} = '{value}'")
            holder.begin()
            holder.execute(gate, arguments)
            pending = caller.start(query, arguments)
            if fault in ("terminate", "cancel"):
                assert caller.blocked(by=holder), (gate, fault)
                db.execute(f"select pg_{fault}_backend(%s)", [caller.pid])
            with pytest.raises(psycopg.Error) as ended:
                pending.result()
            expected = {"terminate": {"57P01", None}, "lock_timeout": {"55P03"}}.get(fault, {"57014"})
            assert ended.value.sqlstate in expected, (gate, fault)
            if fault != "terminate":
                assert caller.execute(f"show {setting}") == [{setting: value}]
            holder.rollback()
            assert contents(db) == before, (gate, fault)
        caller.close()
    # Nothing was left behind that would stand in the way of the same call now.
    (caller,) = sessions("caller")
    settings = caller.execute(SETTINGS)
    caller.execute(query, arguments)
    assert contents(db) != before
    assert caller.execute(SETTINGS) == settings


@pytest.mark.parametrize("timeout", ["0", "150ms", "200ms", "7s", "1min"])
def test_maintenance_waits_for_partitions_no_longer_than_its_caller_would(db: Db, sessions: Sessions, clock, timeout: str):
    """A reader of the events is in its way; the caller's lock_timeout holds if it is the shorter one, and is kept."""
    reader, caller = sessions("reader", "caller")
    # The first call notices the timeline; only one that does nothing else prepares partitions.
    caller.execute("select * from runledger.run_maintenance()")
    clock.advance(2 * 86_400)
    caller.execute("select * from runledger.run_maintenance()")
    clock.advance(10 * 86_400)
    reader.begin().execute("select count(*) from runledger.job_events")
    before = caller.execute("show lock_timeout")
    caller.begin()
    caller.execute(f"set local lock_timeout = '{timeout}'")
    done = caller.start("select * from runledger.run_maintenance() where task = 'partitions'").result()
    assert [r["affected"] for r in done] == [0]
    assert caller.execute("show lock_timeout") == [{"lock_timeout": timeout}]
    caller.commit()
    reader.rollback()
    done = caller.execute("select * from runledger.run_maintenance() where task = 'partitions'")
    assert done[0]["affected"] > 0
    assert caller.execute("show lock_timeout") == before
