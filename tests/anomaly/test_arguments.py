"""Arguments out of range, hostile names, ragged arrays, malformed items: each has its code, and nothing is written."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from tests.anomaly.world import MARKER, World, code_of, contents, told
from tests.support.database import Db

LEASE = "%(job_id)s, %(lease_token)s"
PAST_TEN_YEARS = "now() + interval '3651 days'"
MOMENTS = ["'infinity'", "'-infinity'", "'294276-12-31 23:59:59Z'", "'10000-01-01Z'", "'4713-01-01 BC'", PAST_TEN_YEARS]
LENGTHS = ["null", "'-1 microsecond'", "'-1 day'", "'3651 days'", "'2000000000 days'", "'-2000000000 days'", "'178000000 years'"]
INTEGERS = ["null", "0", "-1", "-2147483648", "2147483647"]
# Blank, and a byte too many; a name is counted in bytes.
BAD_NAMES = ["''", "' '", "E'\\t\\n\\r '", "repeat('x', 201)", "repeat('é', 101)", "repeat('x', 65536)"]
BAD_KEYS = ["''", "' '", "repeat('k', 513)", "repeat('k', 2705)", "repeat('k', 65536)", "repeat('é', 257)"]
BAD_TEXTS = ["''", "' '", "repeat('r', 8193)", "repeat('r', 1048576)"]


def calls(template: str, values: list[str], code: str) -> list[tuple[str, str]]:
    return [(template.replace("?", value), code) for value in values]


REFUSED = [
    *calls("claim_jobs('w', '{work}', ?)", [*INTEGERS, "1001"], "job.invalid_limit"),
    *calls("claim_jobs('w', '{work}', 1, ?)", [*INTEGERS, "86401"], "job.invalid_lease_duration"),
    *calls("claim_jobs(?, '{work}')", ["null", *BAD_NAMES], "job.invalid_worker_id"),
    *calls(
        "claim_jobs('w', ?)",
        ["null", "'{NULL}'", "'{work,NULL}'", "'{{work},{other}}'", "array_fill('x'::text, '{1001}')"],
        "job.invalid_job_type",
    ),
    *calls("leased_jobs(?)", ["null", *BAD_NAMES], "job.invalid_worker_id"),
    *calls("leased_jobs('w', ?)", ["null"], "job.invalid_tokens"),
    *calls("heartbeat_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint], ?)", [*INTEGERS, "86401"],
           "job.invalid_lease_duration"),
    *[
        (f"{verb}({arrays})", "job.invalid_tokens")
        for verb in ("start_jobs", "heartbeat_jobs")
        for arrays in (
            "null, '{1}'", "'{}', null", "array[%(job_id)s::uuid], '{}'", "'{}', '{1}'", "array[%(job_id)s::uuid], '{1,2}'",
            "array[%(job_id)s::uuid], '{NULL}'", "'{NULL}', array[%(lease_token)s::bigint]", "'{NULL}', '{NULL}'",
            "array[array[%(job_id)s::uuid]], array[array[1::bigint]]", "array[%(job_id)s::uuid], '{{1}}'",
            "array_fill(%(job_id)s::uuid, '{1001}'), array_fill(1::bigint, '{1001}')",
        )
    ],
    *calls("enqueue_job(?)", ["null", *BAD_NAMES, "'nobody'"], "job.definition_not_found_or_disabled"),
    *calls("enqueue_job('work', max_attempts => ?)", ["0", "-1", "10001", "2147483647"], "job.invalid_max_attempts"),
    *calls("enqueue_job('work', timeout_seconds => ?)", ["0", "-1", "2592001", "2147483647"], "job.invalid_timeout"),
    *calls("enqueue_job('work', run_at => ?)", MOMENTS, "job.invalid_run_at"),
    *calls("enqueue_job('work', idempotency_key => ?)", BAD_KEYS, "job.invalid_idempotency_key"),
    *calls("enqueue_job('work', stage => ?)", ["null", *BAD_NAMES], "job.invalid_stage"),
    *calls("define_job(?)", ["null", *BAD_NAMES], "job.invalid_job_type"),
    *calls("define_job('work', version => ?)", ["0", "-1"], "job_definition.invalid_version"),
    *calls("define_job('work', max_attempts => ?)", ["0", "10001"], "job.invalid_max_attempts"),
    *calls("define_job('work', timeout_seconds => ?)", ["0", "2592001"], "job.invalid_timeout"),
    *calls("define_job('work', max_concurrency => ?)", ["-1", "100001"], "job_definition.invalid_max_concurrency"),
    *calls("define_job('work', retry_base_ms => ?)", ["0", "-1"], "job_definition.invalid_retry_policy"),
    *calls("define_job('work', retry_max_ms => ?)", ["0", "4999"], "job_definition.invalid_retry_policy"),
    *calls(
        "define_job('work', retry_delays_ms => ?)",
        ["'[]'", "'1'", "'null'", "'{\"a\": \"1\"}'", "'{\"a\": 0}'", "'{\"a\": 1.5}'", "'{\"a\": 315360000001}'", "'{\"a\": null}'"],
        "job_definition.invalid_retry_policy",
    ),
    *[(f"{verb}('nobody')", "job.definition_not_found")
      for verb in ("enable_job_type", "disable_job_type", "pause_job_type", "resume_job_type")],
    *calls("pause_job_type('work', ?)", BAD_TEXTS, "job.invalid_reason"),
    *calls("disable_job_type('work', ?)", BAD_TEXTS, "job.invalid_reason"),
    *calls("set_runtime_config('work', ?)", ["null", "'[]'", "'null'", "'1'"], "job_definition.invalid_config"),
    *calls("set_runtime_config('work', '{}', ?)", ["null", "0", "-1"], "job_definition.invalid_config"),
    *calls(f"report_progress({LEASE}, done => ?)", ["-1", "-9223372036854775808"], "job.invalid_progress"),
    *calls(f"report_progress({LEASE}, done => 2, total => ?)", ["1", "-1", "0"], "job.invalid_progress"),
    *calls(f"report_progress({LEASE}, stage => ?)", BAD_NAMES, "job.invalid_stage"),
    *calls(f"succeed_job({LEASE}, done => ?)", ["-1"], "job.invalid_completion_progress"),
    *calls(f"succeed_job({LEASE}, done => 9223372036854775807, total => ?)", ["0", "9223372036854775806"],
           "job.invalid_completion_progress"),
    *calls(f"fail_job({LEASE}, ?, 'm')", ["null", *BAD_NAMES], "job.invalid_error_code"),
    *calls(f"fail_job({LEASE}, 'c', 'm', ?)", ["null", "''", "'retryable'", "'LEASE_EXPIRED'", "repeat('x', 65536)"],
           "job.invalid_failure_kind"),
    *calls(f"fail_job({LEASE}, 'c', 'm', not_before => ?)", MOMENTS, "job.invalid_retry_timing"),
    *calls(f"continue_job({LEASE}, ?)", LENGTHS, "job.invalid_continuation_delay"),
    *calls(f"release_job({LEASE}, 'r', ?)", LENGTHS, "job.invalid_retry_delay"),
    *calls(f"release_job({LEASE}, ?)", ["null", *BAD_TEXTS], "job.invalid_reason"),
    *calls("reap_expired_leases(?)", [*INTEGERS, "1001"], "job.invalid_limit"),
    *calls("reap_expired_leases(1, ?)", LENGTHS, "job.invalid_retry_delay"),
    *calls("prune(?)", [*LENGTHS, "'0'"], "operations.invalid_retention"),
    *calls("prune('1 d', ?)", [*INTEGERS, "100001"], "job.invalid_limit"),
    *calls("prune('1 d', reason => ?)", BAD_TEXTS, "job.invalid_reason"),
    *calls("set_retention(?)", [n for n in LENGTHS if n != "null"], "operations.invalid_retention"),
    *calls("cancel_job(%(pending)s, ?)", BAD_TEXTS, "job.invalid_reason"),
    *calls("requeue_job(%(dead)s, ?)", BAD_TEXTS, "job.invalid_reason"),
    *calls("redrive_dead_letters(?)", ["null", *BAD_TEXTS], "job.invalid_reason"),
    *calls("redrive_dead_letters('r', max_jobs => ?)", [*INTEGERS, "1001"], "job.invalid_limit"),
    *calls("replay_job(%(succeeded)s, ?, 'r')", ["null", "''", "' '"], "job.replay_request_key_blank"),
    *calls("replay_job(%(succeeded)s, ?, 'r')", ["repeat('k', 513)", "repeat('k', 65536)"], "job.replay_request_key_too_long"),
    *calls("replay_job(%(succeeded)s, 'k', ?)", ["null", "''", "' '"], "job.replay_reason_blank"),
    *calls("replay_job(%(succeeded)s, 'k', ?)", BAD_TEXTS[2:], "job.invalid_reason"),
    *calls("correct_payload(%(pending)s, '{}', ?)", ["null", *BAD_TEXTS], "job.invalid_reason"),
    *calls("redact_job(%(succeeded)s, ?)", ["null", *BAD_TEXTS], "job.invalid_reason"),
    *calls("log_job(%(job_id)s, ?, 'm')", ["null", *BAD_NAMES], "job.invalid_log"),
    *calls("log_job(%(job_id)s, 'info', ?)", ["null", *BAD_TEXTS], "job.invalid_log"),
    *calls("list_jobs(max_rows => ?)", [*INTEGERS, "1001"], "job.invalid_pagination"),
    *calls("list_jobs(status => ?)", ["''", "'pending'", "repeat('x', 65536)"], "job.invalid_status"),
    *[call for name in ("list_job_events(%(job_id)s, ", "list_job_logs(%(job_id)s, ", "list_job_attempts(%(job_id)s, ", "list_dead_letters(",
                        "list_job_definitions(", "list_runtime_configs(", "list_workflows(", "list_workflow_steps(%(job_id)s, ",
                        "list_workflow_edges(%(job_id)s, ", "list_workflow_mutations(%(job_id)s, ", "list_schedules(", "list_workers(",
                        "list_queues(", "list_waiting_jobs('work', ", "list_running_jobs(", "list_live_workflows(")
      for call in calls(f"{name}max_rows => ?)", [*INTEGERS, "1001"], "job.invalid_pagination")],
    *calls("list_job_events(%(job_id)s, ?, 1)", ["0", "-1", "9223372036854775807"], "job.invalid_cursor"),
    *calls("list_job_logs(%(job_id)s, ?, 1)", ["0", "-1", "9223372036854775807"], "job.invalid_cursor"),
    *calls("list_job_attempts(%(job_id)s, ?)", ["1, before_run => 1", "null, 1", "before_attempt => 1"], "job.invalid_cursor"),
    *calls("list_dead_letters(?)", ["before_failed_at => now()", "before_id => %(dead)s"], "job.invalid_cursor"),
    *calls("list_running_jobs(?)", ["after_claimed_at => now()", "after_id => %(dead)s"], "job.invalid_cursor"),
    *calls("list_waiting_jobs('work', ?)", ["1", "null, now()", "after_id => %(dead)s", "1, now()"], "job.invalid_cursor"),
    *calls("list_workflow_edges(%(job_id)s, ?)", ["1", "null, 1"], "job.invalid_cursor"),
    *calls("list_workflow_mutations(%(job_id)s, ?)", ["now()", "null, ''"], "job.invalid_cursor"),
    *calls("job_statuses(?)", ["null", "'{NULL}'", "array[array[%(job_id)s::uuid]]", "array_fill(%(job_id)s::uuid, '{1001}')"],
           "job.invalid_ids"),
    *calls("job_log_payloads(%(job_id)s, ?)", ["null", "'{NULL}'", "'{{1}}'", "array_fill(1::bigint, '{1001}')"], "job.invalid_ids"),
    *calls("log_jobs(?)", ["null", "'{}'", "'1'", "'null'"], "job.invalid_batch"),
    *calls("register_worker(?, '{work}')", ["null", *BAD_NAMES], "job.invalid_worker_id"),
    *calls("register_worker('w', ?)", ["null", "'{NULL}'", "'{{work},{work}}'", "array_fill('x'::text, '{1001}')"],
           "worker.invalid_registration"),
    *calls("register_worker('w', '{work}', ?)", ["null", "0", "-1"], "worker.invalid_registration"),
    *calls("idle_worker('w', ?)", ["'infinity'", "'10000-01-01Z'", "now() + interval '2 hours'"], "worker.invalid_idle_time"),
    *calls("idle_worker(?)", ["null", "''", "'nobody'", "repeat('x', 65536)"], "worker.not_found"),
    *calls("fsck(?)", ["null", "''", "'FULL'", "repeat('x', 65536)"], "operations.invalid_scope"),
    # Ids and tokens that nobody has.
    *[(f"{verb}(?, 1{more})".replace("?", job_id), "job.not_found")
      for verb, more in (("succeed_job", ""), ("fail_job", ", 'c', 'm'"), ("continue_job", ""), ("release_job", ", 'r'"),
                         ("report_progress", ""))
      for job_id in ("'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'")],
    *[(f"{verb}(%(job_id)s, ?{more})".replace("?", token), "job.lease_owner_mismatch")
      for verb, more in (("succeed_job", ""), ("fail_job", ", 'c', 'm'"), ("continue_job", ""), ("release_job", ", 'r'"),
                         ("report_progress", ""))
      for token in ("0", "-1", "9223372036854775807", "%(foreign)s")],
]  # fmt: skip


def test_each_bad_argument_has_its_code_and_writes_nothing(db: Db):
    world = World(db)
    foreign = world.leased()
    arguments = {
        "job_id": world.lease.job_id, "lease_token": world.lease.lease_token, "pending": world.pending,
        "dead": world.dead, "succeeded": world.succeeded, "foreign": foreign.lease_token,
    }  # fmt: skip
    before = contents(db)
    wrong = []
    for call, code in REFUSED:
        try:
            got: Any = world.run(f"select * from runledger.{call}", arguments)
        except psycopg.Error as error:
            got = code_of(error)
            # An error is for reading: no echo of what was sent.
            if len(told(error)) > 3_000:
                wrong.append((call, "a long error", told(error)[:200]))
        if got != code:
            wrong.append((call, code, got))
    assert not wrong
    assert contents(db) == before


# What may be missing in a call of a worker verb: anything. NULL never matches, and never crashes.
NULLS = [
    "succeed_job(null, %(lease_token)s)", "succeed_job(%(job_id)s, null)", "succeed_job(null, null)",
    "fail_job(null, null, 'c', 'm')", "continue_job(null, null)", "release_job(null, null, 'r')",
    "report_progress(null, null)", "report_progress(%(job_id)s, null)", "log_job(null, 'info', 'm')", "cancel_job(null)",
    "requeue_job(null)", "replay_job(null, 'k', 'r')", "correct_payload(null, '{}', 'r')",
    "redact_job(null, 'r')", "runtime_config(null)", "set_runtime_config(null, '{}')", "pause_job_type(null)",
]  # fmt: skip


def test_null_in_place_of_an_id_is_an_error(db: Db):
    world = World(db)
    before = contents(db)
    lease = {"job_id": world.lease.job_id, "lease_token": world.lease.lease_token}
    for call in NULLS:
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select * from runledger.{call}", lease)
        assert (refused.value.sqlstate or "").startswith("RL"), call
    assert contents(db) == before


HOSTILE_NAMES = [
    "o'clock", 'a"b', "back\\slash", "$$; drop schema runledger cascade; --", "{a,b}", "NULL", "%s %(x)s %I", "line\nfeed",
    "\u202eevil\u202c", "\U0001f469\u200d\U0001f680", "\ufeffbom", "e\u0301", "x" * 200, "é" * 100, "public.work", "*", "a,b", "()",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_an_odd_name_is_a_name(db: Db, name: str):
    """As type, worker, key, stage, tenant's neighbour: through the whole life, unharmed and found again."""
    caller = db.connect()

    def run(query: str, *params: Any) -> Any:
        row = caller.execute(query, params).fetchone()
        assert row is not None
        return row[0]

    assert run("select job_type from runledger.define_job(%s, max_concurrency => 2)", name) == name
    run("select worker_id from runledger.register_worker(%s, array[%s, 'other'])", name, name)
    run("select worker_id from runledger.idle_worker(%s, now() + interval '1 minute')", name)
    enqueue = "select job_id from runledger.enqueue_job(%s, %s::jsonb, idempotency_key => %s, stage => %s)"
    body = json.dumps({name: name})
    job_id = run(enqueue, name, body, name, name)
    assert run(enqueue, name, body, name, name) == job_id
    batch = json.dumps([{"job_type": name, "payload": {name: name}, "idempotency_key": name, "stage": name}])
    assert run("select (job_id, disposition)::text from runledger.enqueue_jobs(%s)", batch) == f"({job_id},EXISTING)"
    claim = "select (job_id = %s and job_type = %s and payload = %s::jsonb)::text || lease_token from runledger.claim_jobs(%s, %s)"
    token = int(run(claim, job_id, name, body, name, [name, "other"]).removeprefix("true"))
    assert run("select lease_token from runledger.leased_jobs(%s)", name) == token
    assert run("select stage from runledger.report_progress(%s, %s, stage => %s)", job_id, token, name) == name
    run("select runledger.log_job(%s, %s, %s)", job_id, name, name)
    assert run("select disposition from runledger.fail_job(%s, %s, %s, %s, 'TERMINAL')", job_id, token, name, name) == "DEAD_LETTERED"
    assert run("select count(*) from runledger.redrive_dead_letters(%s, %s, %s)", name, name, name) == 1
    assert run("select job_id from runledger.list_jobs(job_type => %s)", name) == job_id
    assert run("select disposition from runledger.cancel_job(%s, %s)", job_id, name) == "CANCELED"
    assert run("select status_reason from runledger.get_job(%s)", job_id) == name


# Items of enqueue_jobs: (item, code). A neighbour on each side must get in.
ITEMS: list[tuple[Any, str]] = [
    *[(item, "job.invalid_item") for item in (None, 1, "work", True, [], [{"job_type": "work"}])],
    ({}, "job.invalid_job_type"),
    *[({"job_type": value}, "job.invalid_job_type") for value in (None, 1, True, {}, [], ["work"])],
    *[({"job_type": value}, "job.definition_not_found_or_disabled") for value in ("", " ", "nobody", "x" * 65_536)],
    *[({"job_type": "work", name: 1}, "job.unknown_field") for name in ("job_id", "Payload", "", "run_att", "lease_token", "__proto__")],
    *[({"job_type": "work", "priority": v}, "job.invalid_priority") for v in ("1", 1.5, 2**31, -(2**31) - 1, 10**400, True, [], {})],
    *[({"job_type": "work", "max_attempts": v}, "job.invalid_max_attempts") for v in (0, -1, 10_001, "3", 1.5, [], 2**70)],
    *[({"job_type": "work", "timeout_seconds": v}, "job.invalid_timeout") for v in (0, -1, 2_592_001, "3", 0.5, 2**70)],
    *[({"job_type": "work", "run_at": v}, "job.invalid_run_at") for v in (
        0, 1_700_000_000, True, "", "now", "tomorrow", "infinity", "-infinity", "epoch", "2030-01-01", "2030-01-01 00:00", "allballs",
        "2030-13-01T00:00:00Z", "2030-02-30T00:00:00Z", "2030-01-01T25:00:00Z", "2030-01-01T00:00:00+99", "10000-01-01T00:00:00Z",
        "99999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2030-01-01T00:00:00 Mars/Olympus", "2030-01-01T00:00:00.1.2Z", "x" * 70_000)],
    *[({"job_type": "work", "organization_id": v}, "job.invalid_organization_id") for v in (1, "", "x", "0" * 32, "{" + "0" * 36 + "}", [])],
    *[({"job_type": "work", "idempotency_key": v}, "job.invalid_idempotency_key") for v in (1, "", " ", "k" * 513, "é" * 257, [], {})],
    *[({"job_type": "work", "stage": v}, "job.invalid_stage") for v in (1, "", " ", "s" * 201, [])],
]  # fmt: skip


def test_each_malformed_item_of_enqueue_jobs_is_invalid_alone(db: Db):
    world = World(db)
    good = {"job_type": "work", "idempotency_key": "same", "payload": MARKER}
    batch = [good, *(item for item, _ in ITEMS), {"job_type": "work"}]
    rows = world.run("select ordinal, job_id, disposition, code from runledger.enqueue_jobs(%s::jsonb)", [json.dumps(batch)])
    assert [r[0] for r in rows] == list(range(1, len(batch) + 1))
    assert (rows[0][2], rows[-1][2]) == ("INSERTED", "INSERTED")
    wrong = [(str(item)[:100], code, row[1:]) for (item, code), row in zip(ITEMS, rows[1:-1], strict=True) if row[1:] != (None, "INVALID", code)]
    assert not wrong
    before = contents(db)
    for item, code in ITEMS:
        with pytest.raises(psycopg.Error) as refused:
            world.run("select * from runledger.enqueue_jobs(%s::jsonb, true)", [json.dumps([{"job_type": "work"}, item])])
        assert code_of(refused.value) == code
        assert json.loads(refused.value.diag.message_detail or "") == {"code": code, "ordinal": 2}
    assert contents(db) == before


def outcomes(lease: dict[str, Any]) -> list[tuple[Any, str]]:
    done, failed = {**lease, "outcome": "SUCCEEDED"}, {**lease, "outcome": "FAILED", "error_code": "c"}
    again, release = {**lease, "outcome": "CONTINUE"}, {**lease, "outcome": "RELEASE", "reason": "r"}
    bad_lengths = (-1, -0.001, 10**9, 10**400, "-1 s", "x", "", True, [], "2000000000 days", "9" * 60 + " years", "infinity", "3651 days")
    bad_moments = ("infinity", "", "now", 0, "2030-01-01", "99999-01-01T00:00:00Z", "0001-01-01T00:00:00Z")
    return [
        *[(item, "job.invalid_item") for item in (None, 1, "x", True, [], [[]])],
        *[({**done, "job_id": v}, "job.invalid_id") for v in (None, 1, "", "x", "0" * 32, [])],
        *[({**done, "lease_token": v}, "job.invalid_tokens") for v in (None, "1", 1.5, 2**63, 10**400, True, [])],
        *[({**lease, "outcome": v}, "job.invalid_outcome") for v in (None, 1, "", "succeeded", "CANCELED", [], {})],
        *[({**done, name: 1}, "job.unknown_field") for name in ("Output", "", "error_code", "kind", "delay", "reason", "checkpoints")],
        *[({**failed, name: {"a": 1}}, "job.unknown_field") for name in ("output", "checkpoint", "done", "delay")],
        *[({**again, name: {"a": 1}}, "job.unknown_field") for name in ("output", "reason", "error_code")],
        *[({**release, name: {"a": 1}}, "job.unknown_field") for name in ("output", "checkpoint", "done")],
        *[({**done, "done": v}, "job.invalid_completion_progress") for v in (-1, 1.5, "1", 2**63, True, [])],
        *[({**done, "done": 2, "total": v}, "job.invalid_completion_progress") for v in (1, -1, "2", 10**400)],
        *[({**failed, "error_code": v}, "job.invalid_error_code") for v in (None, 1, "", " ", "c" * 201, [])],
        *[({**failed, "kind": v}, "job.invalid_failure_kind") for v in (1, "", "retryable", "LEASE_EXPIRED", [])],
        *[({**failed, "not_before": v}, "job.invalid_retry_timing") for v in bad_moments],
        *[({**again, "delay": v}, "job.invalid_continuation_delay") for v in bad_lengths],
        *[({**release, "delay": v}, "job.invalid_retry_delay") for v in bad_lengths],
        *[({**release, "reason": v}, "job.invalid_reason") for v in (None, 1, "", " ", "r" * 8_193, [])],
    ]


def test_each_malformed_outcome_of_finish_jobs_is_invalid_alone(db: Db):
    """Each beside a good one, which succeeds; the lease that the bad one is about stays as it was."""
    world = World(db)
    lease = {"job_id": str(world.lease.job_id), "lease_token": world.lease.lease_token}
    before = db.job(world.lease.job_id)
    wrong = []
    for item, code in outcomes(lease):
        good = world.leased()
        batch = [item, {"job_id": str(good.job_id), "lease_token": good.lease_token, "outcome": "SUCCEEDED"}]
        rows = world.run("select disposition, code from runledger.finish_jobs(%s::jsonb)", [json.dumps(batch)])
        if rows != [("INVALID", code), ("SUCCEEDED", None)]:
            wrong.append((str(item)[:160], code, rows))
    assert not wrong
    assert db.job(world.lease.job_id) == before


def test_the_same_job_twice_in_one_batch_ends_once(db: Db):
    world = World(db)
    one = {"job_id": str(world.lease.job_id), "lease_token": world.lease.lease_token}
    batch = [{**one, "outcome": "SUCCEEDED"}, {**one, "outcome": "FAILED", "error_code": "c"}, {**one, "outcome": "SUCCEEDED"}]
    rows = world.run("select disposition, replayed, code from runledger.finish_jobs(%s::jsonb)", [json.dumps(batch)])
    assert rows == [("SUCCEEDED", False, None), ("INVALID", False, "job.duplicate_item"), ("INVALID", False, "job.duplicate_item")]
    assert len(db.attempts(world.lease.job_id)) == 1


NEEDS_READ_COMMITTED = {
    "claim_jobs('w', '{work}')": "job.claim_unsupported_isolation",
    "enqueue_job('work', idempotency_key => 'k')": "job.idempotency_unsupported_isolation",
    "enqueue_jobs('[{\"job_type\": \"work\", \"idempotency_key\": \"k\"}]')": "job.idempotency_unsupported_isolation",
    "requeue_job(%(dead)s)": "job.requeue_unsupported_isolation",
    "redrive_dead_letters('r')": "job.requeue_unsupported_isolation",
    "replay_job(%(succeeded)s, 'k', 'r')": "job.replay_unsupported_isolation",
    "fire_due_schedules()": "operations.unsupported_isolation",
    "reap_expired_leases()": "operations.unsupported_isolation",
    "prune()": "operations.unsupported_isolation",
    "run_maintenance()": "operations.unsupported_isolation",
}


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_verb_that_looks_again_after_a_lock_refuses_a_frozen_snapshot(db: Db, isolation: str):
    world = World(db)
    before = contents(db)
    for call, code in NEEDS_READ_COMMITTED.items():
        world.caller.execute(f"begin isolation level {isolation}".encode())
        with pytest.raises(psycopg.Error) as refused:
            world.run(f"select * from runledger.{call}", {"dead": world.dead, "succeeded": world.succeeded})
        world.caller.execute("rollback")
        assert code_of(refused.value) == code
        assert refused.value.sqlstate == "RL013"
    assert contents(db) == before


@pytest.mark.parametrize("isolation", ["read uncommitted", "repeatable read", "serializable"])
def test_the_other_verbs_work_at_any_isolation_level(db: Db, isolation: str):
    """So that a job can be enqueued in the caller's transaction, whatever it is."""
    world = World(db)
    world.caller.execute(f"begin isolation level {isolation}".encode())
    lease = {"job_id": world.lease.job_id, "lease_token": world.lease.lease_token}
    assert world.run("select disposition from runledger.enqueue_job('work')") == [("INSERTED",)]
    assert world.run("select disposition from runledger.enqueue_jobs('[{\"job_type\": \"work\"}]')") == [("INSERTED",)]
    beat = "select disposition from runledger.heartbeat_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint])"
    assert world.run(beat, lease) == [("EXTENDED",)]
    assert world.run(f"select progress_done from runledger.report_progress({LEASE}, 1, 2)", lease) == [(1,)]
    assert world.run(f"select disposition from runledger.succeed_job({LEASE})", lease) == [("SUCCEEDED",)]
    assert world.run("select disposition from runledger.cancel_job(%s)", [world.pending]) == [("CANCELED",)]
    world.caller.execute("commit")
    assert db.job(world.lease.job_id)["status"] == "SUCCEEDED"


# Several at a time: no two of them have to do with the same thing.
SETTINGS = [
    ("timezone = 'Asia/Kathmandu'", "datestyle = 'SQL, DMY'", "intervalstyle = 'iso_8601'", "search_path = ''",
     "bytea_output = 'escape'", "standard_conforming_strings = off", "extra_float_digits = -15", "row_security = off"),
    ("timezone = 'Pacific/Kiritimati'", "datestyle = 'German'", "intervalstyle = 'sql_standard'", "search_path = 'pg_temp'",
     "xmlbinary = hex", "array_nulls = off", "transform_null_equals = on", "plan_cache_mode = force_generic_plan"),
    ("timezone = 'America/St_Johns'", "enable_indexscan = off", "work_mem = '64kB'", "backslash_quote = off",
     "check_function_bodies = off", "client_min_messages = error"),
    ("timezone = 'UTC'",),
    ("timezone = 'Antarctica/Troll'",),
]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: settings[0])
def test_session_settings_change_nothing(db: Db, settings: tuple[str, ...]):
    """A delayed enqueue, single and batch, a retry that waits, and the events: the same instants whatever the session."""
    world = World(db)
    for setting in settings:
        world.caller.execute(f"set {setting}".encode())
    run_at = "2030-03-10T02:30:00.123456+05:45"
    item = json.dumps([{"job_type": "work", "run_at": run_at, "idempotency_key": "k"}])
    first = world.run(
        "select job_id, disposition from runledger.enqueue_job('work', run_at => %s::timestamptz, idempotency_key => 'k')",
        [run_at],
    )
    same = world.run("select job_id, disposition from runledger.enqueue_jobs(%s::jsonb)", [item])
    assert same == [(first[0][0], "EXISTING")]
    due = "select extract(epoch from next_run_at)::text from runledger.job_queue where id = %s"
    assert db.value(due, [first[0][0]]) == "1899319500.123456"
    lease = {"job_id": world.lease.job_id, "lease_token": world.lease.lease_token}
    failed = world.run(f"select disposition from runledger.continue_job({LEASE}, '90 minutes')", lease)
    assert failed == [("CONTINUED",)]
    delay = "select round(extract(epoch from next_run_at - updated_at)) from runledger.job_queue where id = %s"
    assert db.value(delay, [world.lease.job_id]) == 5400
    claimed = world.run("select job_id, lease_token from runledger.claim_jobs('w', '{work}')")
    assert claimed == []
    told_at = "select max(occurred_at) <= clock_timestamp() from runledger.job_events where job_id = %s"
    assert db.value(told_at, [world.lease.job_id]) is True
