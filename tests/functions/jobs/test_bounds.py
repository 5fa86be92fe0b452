"""Every bound on both sides: what lies exactly at it is taken, what lies one beyond it is refused, and batches agree with single calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, TENANT, Ledger, Raw, json_ready

INSTANT = timedelta(microseconds=1)
HORIZON = timedelta(days=3650)
WIDE = "é" * 100  # 200 bytes


def test_the_limits_are_those_that_were_promised(db: Db):
    told = {r["name"]: (r["value"], r["unit"]) for r in db.all("select * from runledger._limits()")}
    assert told == {
        "payload_bytes": (262_144, "bytes"), "inputs_bytes": (1_048_576, "bytes"), "metadata_bytes": (65_536, "bytes"), "log_payload_bytes": (16_384, "bytes"),
        "text_bytes": (8192, "bytes"), "name_bytes": (200, "bytes"), "key_bytes": (512, "bytes"), "json_depth": (64, "levels"),
        "batch_items": (10_000, "items"), "batch_bytes": (32 * 1024 * 1024, "bytes"), "max_jobs": (1000, "jobs"), "max_rows": (1000, "rows"),
        "lease_seconds": (86_400, "seconds"), "timeout_seconds": (30 * 86_400, "seconds"), "max_attempts": (10_000, "attempts"), "max_concurrency": (100_000, "jobs"),
        "horizon_days": (3650, "days"), "releases": (100, "releases"), "priorities_marked": (32, "lanes"), "cheap_look": (1000, "entries"),
        "idle_seconds": (3600, "seconds"), "workflow_steps": (10_000, "steps"), "run_steps": (100_000, "steps"), "run_edges": (200_000, "edges"),
        "worker_types": (1000, "types"), "cron_bytes": (1000, "bytes"), "jitter_seconds": (86_400, "seconds"), "max_schedules": (1000, "schedules"),
        "fired_jobs": (1000, "jobs"), "prune_rows": (100_000, "rows"), "prune_looks": (10_000, "rows"), "catalog_items": (1000, "items"),
        "catalog_lock_seconds": (5, "seconds"), "late_seconds": (60, "seconds"),
    }  # fmt: skip
    assert db.all("select * from runledger.limits order by name") == db.all("select * from runledger._limits() order by name")


# Fields of an item of enqueue_jobs, the code it is refused with, and what is stored of it.
def items(now: datetime) -> list[tuple[dict[str, Any], str | None]]:
    at = (now + HORIZON).isoformat()
    ints = {"priority": "job.invalid_priority", "max_attempts": "job.invalid_max_attempts", "timeout_seconds": "job.invalid_timeout"}
    return [
        ({}, None), ({"payload": None}, None), ({"payload": "x" * 262_000}, None), ({"payload": "x" * 262_144}, "json.too_large"),
        *(({name: None}, None) for name in (*ints, "organization_id", "run_at", "stage", "idempotency_key")),
        *(({name: bad}, code) for name, code in ints.items() for bad in ("7", 1.5, True, [], {}, 2**31)),
        *(({name: Raw("7.0")}, None) for name in ints), ({"priority": -(2**31)}, None), ({"priority": 2**31 - 1}, None), ({"priority": -(2**31) - 1}, "job.invalid_priority"),
        *(({"max_attempts": n}, code) for n, code in ((1, None), (10_000, None), (0, ints["max_attempts"]), (10_001, ints["max_attempts"]))),
        *(({"timeout_seconds": n}, code) for n, code in ((1, None), (2_592_000, None), (0, ints["timeout_seconds"]), (2_592_001, ints["timeout_seconds"]))),
        *(({"run_at": x}, code) for x, code in (
            (at, None), ((now + HORIZON + INSTANT).isoformat(), "job.invalid_run_at"), ("1970-01-01T00:00:00.000001Z", None), ("1970-01-01T00:00:00Z", "job.invalid_run_at"),
            ("2030-01-01T00:00:00+02:00", None), ("2030-01-01T00:00:00", "job.invalid_run_at"), ("2030-02-30T00:00:00Z", "job.invalid_run_at"), (7, "job.invalid_run_at"), ("", "job.invalid_run_at"))),
        *(({"stage": x}, code) for x, code in ((WIDE, None), (WIDE + "x", "job.invalid_stage"), (" ", "job.invalid_stage"), ("", "job.invalid_stage"), (7, "job.invalid_stage"), ([], "job.invalid_stage"))),
        *(({"organization_id": x}, code) for x, code in (
            (str(TENANT), None), (str(TENANT).upper(), None), (str(TENANT)[1:], "job.invalid_organization_id"), ("x" * 8 + str(TENANT)[8:], "job.invalid_organization_id"), (7, "job.invalid_organization_id"), ([], "job.invalid_organization_id"))),
        *(({"idempotency_key": x}, code) for x, code in (("é" * 256, None), ("é" * 256 + "x", "job.invalid_idempotency_key"), (" ", "job.invalid_idempotency_key"), (7, "job.invalid_idempotency_key"))),
        ({"job_type": None}, "job.invalid_job_type"), ({"job_type": 7}, "job.invalid_job_type"), ({"job_type": ["t"]}, "job.invalid_job_type"),
        ({"x": None}, None), ({"x": 1}, "job.unknown_field"), ({"max_attempts": 0, "x": 1}, "job.unknown_field"), ({"max_attempts": 0, "stage": ""}, "job.invalid_max_attempts"),
        ({"priority": 5, "max_attempts": 2, "timeout_seconds": 3, "stage": "x", "run_at": at, "organization_id": str(TENANT), "payload": [1]}, None),
        ({"priority": 5, "max_attempts": 2, "timeout_seconds": 3, "stage": "x", "run_at": at, "organization_id": str(TENANT), "payload": "x" * 262_144}, "json.too_large"),
    ]  # fmt: skip


def dumped(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {dumped(v)}" for k, v in value.items()) + "}"
    return str(value) if isinstance(value, Raw) else json.dumps(value)


def test_an_item_alone_says_the_same_as_one_beside_a_key_and_as_a_single_call(db: Db, q: Ledger, clock: Clock):
    now = clock.stop()
    q.define("t", priority=11, max_attempts=12, timeout_seconds=13)
    defaults = {"priority": 11, "max_attempts": 12, "timeout_seconds": 13, "stage": "queued", "organization_id": None, "idempotency_key": None}
    db.execute("begin")
    for fields, code in items(now):
        item = dumped({"job_type": "t", **fields})
        plain = db.value("select runledger._is_plain_batch(%s::jsonb, null, runledger._now())", [f"[{item}]"])
        # A field that is not known but null is left to the decoder, as are whatever has a key and 7.0.
        wide = "x" in fields or any(isinstance(v, Raw) for v in fields.values())
        assert plain is (code is None and not fields.get("idempotency_key") and not wide), fields
        for batch in (f"[{item}]", f'[{item}, {{"job_type": "t", "idempotency_key": "beside"}}]'):
            db.execute("savepoint one")
            row, *_ = db.all("select * from runledger.enqueue_jobs(%s::jsonb)", [batch])
            assert (row["ordinal"], row["disposition"], row["code"]) == (1, "INVALID" if code else "INSERTED", code), fields
            if not code:
                job = db.job(row["job_id"])
                want = defaults | {k: 7 if isinstance(v, Raw) else v for k, v in fields.items() if v is not None and k in defaults}
                assert {k: str(v).lower() if k == "organization_id" and v else v for k, v in job.items() if k in want} == {
                    k: v.lower() if k == "organization_id" and v else v for k, v in want.items()
                }, fields
                assert job["payload"] == fields.get("payload", {})
                assert job["next_run_at"] == (datetime.fromisoformat(fields["run_at"]) if fields.get("run_at") else now)
                assert (job["status"], job["run_number"], job["attempt"], job["created_at"], job["updated_at"]) == ("PENDING", 1, 0, now, now)
            db.execute("rollback to one")
        mixed = db.value("select runledger._is_plain_batch(%s::jsonb, null, runledger._now())", [f'[{{"job_type": "t"}}, {item}]'])
        assert mixed is plain, fields
    db.execute("rollback")
    asked = "select runledger._is_plain_batch(%s::jsonb, %s, now())"
    for batch, granted, want in (
        ('[{"job_type": "t"}]', ["t"], True), ('[{"job_type": "t"}]', ["u"], False), ('[{"job_type": "t"}, {"job_type": "u"}]', ["t"], False), ('[{"job_type": "t"}]', [], False),
        ("[1]", None, False), ("[[]]", None, False), ("[null]", None, False), ("[]", None, None),
    ):  # fmt: skip
        assert db.value(asked, [batch, granted]) is want, batch


def outcomes(now: datetime) -> list[tuple[dict[str, Any], str | None]]:
    kinds = {"SUCCEEDED": {}, "FAILED": {"error_code": "e"}, "CONTINUE": {}, "RELEASE": {"reason": "r"}}
    fields: dict[str, Any] = {
        "output": [1], "checkpoint": [1], "done": 1, "total": 1, "kind": "TERMINAL", "error_code": "e", "error_message": "m",
        "not_before": now.isoformat(), "delay": 1, "reason": "r",
    }  # fmt: skip
    own = {
        "SUCCEEDED": {"output", "checkpoint", "done", "total"}, "FAILED": {"kind", "error_code", "error_message", "not_before"},
        "CONTINUE": {"checkpoint", "done", "total", "delay"}, "RELEASE": {"delay", "reason"},
    }  # fmt: skip
    longest = HORIZON.total_seconds()
    delay, timing = {"CONTINUE": "job.invalid_continuation_delay", "RELEASE": "job.invalid_retry_delay"}, "job.invalid_retry_timing"
    big = "x" * 262_144
    return [
        *(({"outcome": o, **kinds[o], name: value}, None if name in own[o] else "job.unknown_field") for o in kinds for name, value in fields.items()),
        *(({"outcome": o, **kinds[o], name: None}, {"error_code": "job.invalid_error_code", "reason": "job.invalid_reason"}.get(name) if name in kinds[o] else None) for o in kinds for name in fields),
        *(({"outcome": o, **kinds[o], "x": 1}, "job.unknown_field") for o in kinds),
        *(({"outcome": o}, "job.invalid_outcome") for o in (None, "", "succeeded", "CONTINUED", "RELEASED", 7)),
        *(({"outcome": "FAILED", "error_code": "e", "kind": k}, None if k in ("RETRYABLE", "TERMINAL", "PANICKED", "TIMEOUT") else "job.invalid_failure_kind")
          for k in ("RETRYABLE", "TERMINAL", "PANICKED", "TIMEOUT", "LEASE_EXPIRED", "", "timeout", 7)),
        *(({"outcome": "FAILED", "error_code": x}, code) for x, code in ((WIDE, None), (WIDE + "x", "job.invalid_error_code"), (" ", "job.invalid_error_code"), (7, "job.invalid_error_code"))),
        *(({"outcome": "FAILED", "error_code": "e", "not_before": x}, code) for x, code in (
            ((now + HORIZON).isoformat(), None), ((now + HORIZON + INSTANT).isoformat(), timing), ("1970-01-01T00:00:00.000001Z", None), ("1970-01-01T00:00:00Z", timing), ("x", timing), (7, timing))),
        *(({"outcome": "RELEASE", "reason": x}, code) for x, code in (("é" * 4096, None), ("é" * 4096 + "x", "job.invalid_reason"), (" ", "job.invalid_reason"), (7, "job.invalid_reason"))),
        *(({"outcome": o, **kinds[o], "delay": d}, None if good else delay[o]) for o in delay for d, good in (
            (0, True), (longest, True), (longest + 0.001, False), (-0.001, False), ("3650 days", True), ("3650 days 1 second", False), ("x", False), (True, False), ([], False), ("-1 s", False))),
        *(({"outcome": o, **given}, None if good else "job.invalid_completion_progress") for o in ("SUCCEEDED", "CONTINUE") for given, good in (
            ({"done": 0, "total": 0}, True), ({"done": 3, "total": 3}, True), ({"done": 4, "total": 3}, False), ({"done": -1}, False), ({"total": -1}, False), ({"done": 2}, True),
            ({"done": 5}, False), ({"total": 1}, True), ({"total": 0}, False), ({"done": "1"}, False), ({"total": 1.5}, False), ({"done": 2**63}, False))),
        *(({"outcome": o, name: value}, code) for o, name in (("SUCCEEDED", "output"), ("SUCCEEDED", "checkpoint"), ("CONTINUE", "checkpoint"))
          for value, code in (("x" * 262_000, None), (big, "json.too_large"), (Raw("[1e999]"), "json.number_out_of_range"))),
        ({"outcome": "SUCCEEDED", "output": big, "done": "x"}, "job.invalid_completion_progress"), ({"outcome": "FAILED", "error_code": "", "kind": ""}, "job.invalid_failure_kind"),
        ({"outcome": "FAILED", "error_code": "", "not_before": "x"}, "job.invalid_error_code"), ({"outcome": "RELEASE", "reason": "", "delay": -1}, "job.invalid_retry_delay"),
    ]  # fmt: skip


def test_an_outcome_is_taken_or_refused_field_by_field(db: Db, q: Ledger, clock: Clock):
    now = clock.stop()
    lease = q.leased(max_attempts=3)
    q.row("report_progress", **lease, done=1, total=4)
    own, other = q.on(db.conn), q.leased(priority=-1)
    db.execute("begin")
    for fields, code in outcomes(now):
        item = dumped({**json_ready(lease), **fields})
        beside = dumped({**json_ready(other), "outcome": "SUCCEEDED"})
        for batch in (f"[{item}]", f"[{beside}, {item}]"):
            db.execute("savepoint one")
            row = own.rows("finish_jobs", outcomes=Raw(batch))[-1]
            assert (row["code"] if row["disposition"] == "INVALID" else None) == code, fields
            assert (q.db.job(lease["job_id"])["status"] == "LEASED") is bool(code), fields
            if not code:
                assert row["code"] == fields.get("error_code")
            db.execute("rollback to one")
    db.execute("rollback")


def test_the_short_way_of_a_success_is_for_plain_ones_alone(db: Db, q: Ledger):
    """What it does not take, the judge takes; under a live lease alone it answers at all."""
    lease, other = q.leased(), q.leased()
    done = q.leased()
    q.succeed(done)
    base = json_ready({**lease, "outcome": "SUCCEEDED"})
    beside = json_ready({**other, "outcome": "SUCCEEDED", "output": None})
    for item, plain in (
        ({}, True), ({"output": None}, True), ({"output": [1]}, True), ({"output": "x" * 262_144}, False), ({"checkpoint": None}, False), ({"done": 1}, False), ({"x": None}, False),
        ({"outcome": "FAILED"}, False), ({"outcome": None}, False), ({"job_id": "x"}, False), ({"job_id": str(NOBODY)}, False), ({"job_id": None}, False),
        ({"job_id": str(lease["job_id"])[:-1]}, False), ({"lease_token": str(lease["lease_token"])}, False), ({"lease_token": lease["lease_token"] + 1}, False), ({"lease_token": None}, False),
        ({"job_id": str(done["job_id"]), "lease_token": done["lease_token"]}, False),
    ):  # fmt: skip
        one = {**base, **item}
        for batch in ([one], [beside, one], [one, beside]):
            got = db.one("select (s.x).* from (select runledger._plain_successes(%s::jsonb) as x) as s", [dumped_list(batch)])
            if not plain:
                assert set(got.values()) == {None}, item
                continue
            order = sorted(range(len(batch)), key=lambda n, batch=batch: batch[n]["job_id"])
            assert got["ordinals"] == [n + 1 for n in order]
            assert [str(j) for j in got["job_ids"]] == [batch[n]["job_id"] for n in order]
            assert got["lease_tokens"] == [batch[n]["lease_token"] for n in order]
            assert got["outputs"] == [batch[n].get("output") for n in order]
            assert got["runs"] is None
            assert got["places"] == db.column("select array_agg(ctid order by id) from runledger.job_queue where id = any (%s)", [got["job_ids"]])[0]
    assert db.one("select (s.x).* from (select runledger._plain_successes('[]') as x) as s")["job_ids"] is None


def dumped_list(batch: list[Any]) -> str:
    return "[" + ", ".join(dumped(item) for item in batch) + "]"


def test_what_was_ended_once_is_told_again_and_nothing_else(db: Db, q: Ledger, clock: Clock):
    """Each past of a lease, each outcome asked for again: the same is repeated with what it said, any other is a lost lease."""
    now = clock.stop()
    asked = {
        "SUCCEEDED": {"outcome": "SUCCEEDED"}, **{kind: {"outcome": "FAILED", "error_code": "e.x", "kind": kind} for kind in ("RETRYABLE", "TIMEOUT", "TERMINAL", "PANICKED")},
        "CONTINUE": {"outcome": "CONTINUE"}, "RELEASE": {"outcome": "RELEASE", "reason": "r"},
    }  # fmt: skip
    q.define("t", retry_delays_ms={"e.x": 7000})
    pasts: dict[str, tuple[str, int, int, str | None]] = {
        **{name: (name, 3, 0, name) for name in asked}, "RETRYABLE, the last": ("RETRYABLE", 1, 0, "RETRYABLE"), "RELEASE, charged": ("RELEASE", 3, 100, "RELEASE"),
        "RELEASE, too often": ("RELEASE", 1, 100, "RELEASE"), "canceled": ("", 3, 0, None), "reaped": ("", 3, 0, None),
    }  # fmt: skip
    for name, (ended, attempts, releases, same) in pasts.items():
        db.execute("update runledger.job_queue set next_run_at = %s where status = 'PENDING'", [now + timedelta(days=9)])
        lease = q.leased(max_attempts=attempts)
        q.row("report_progress", **lease, done=1, total=4)
        db.execute("update runledger.job_queue set release_count = %s where id = %s", [releases, lease["job_id"]])
        if ended:
            first = q.finish_one(lease, **asked[ended])
        elif name == "canceled":
            q.row("cancel_job", job_id=lease["job_id"])
            q.finish_one(lease, outcome="SUCCEEDED")
        else:
            clock.advance(61)
            q.reap()
        status = q.job(lease["job_id"])["status"]
        told = {"ordinal": 1, "job_id": lease["job_id"], "status": status}
        lost = {**told, "disposition": "LEASE_LOST", "replayed": False, "next_run_at": None, "progress_done": None, "progress_total": None,
                "code": "job.canceled" if name == "canceled" else "job.lease_owner_mismatch"}  # fmt: skip
        for other, outcome in asked.items():
            got = q.finish_one(lease, **outcome)
            again = other == same or (name == "RELEASE, too often" and other == "TERMINAL")
            if not again:
                assert got == lost, (name, other)
                continue
            shows = other in ("SUCCEEDED", "CONTINUE")
            due = first["next_run_at"] if first["disposition"] == "RETRY_SCHEDULED" else None
            want = {"replayed": True, "next_run_at": due, "progress_done": 1 if shows else None, "progress_total": 4 if shows else None}
            assert got == {**first, **want}, (name, other)
    with q.unchanged():
        row = q.finish_one({"job_id": NOBODY, "lease_token": 1}, outcome="SUCCEEDED")
    assert row == {"ordinal": 1, "job_id": NOBODY, "disposition": "LEASE_LOST", "replayed": False, "status": None, "next_run_at": None,
                   "code": "job.not_found", "progress_done": None, "progress_total": None}  # fmt: skip


LEASE = "%(job_id)s, %(lease_token)s"
# At the bound, as tests/anomaly/test_arguments.py has what lies beyond it.
TAKEN = [
    "claim_jobs('w', '{t}', 1)", "claim_jobs('w', '{t}', 1000)", "claim_jobs('w', '{t}', 1, 1)", "claim_jobs('w', '{t}', 1, 86400)",
    "claim_jobs(repeat('é', 100), '{t}')", "claim_jobs('w', '{}')", "claim_jobs('w', array_fill('x'::text, '{1000}'))",
    "leased_jobs(repeat('é', 100))", "leased_jobs('w', '{}')", "leased_jobs('w', '{NULL}')",
    *(f"{verb}({arrays})" for verb in ("start_jobs", "heartbeat_jobs") for arrays in ("'{}', '{}'", "array[%(job_id)s::uuid], '{1}'", "array_fill(gen_random_uuid(), '{1000}'), array_fill(1::bigint, '{1000}')")),
    *(f"heartbeat_jobs(array[%(job_id)s::uuid], array[%(lease_token)s::bigint], {n})" for n in (1, 86400)),
    *(f"enqueue_job('t', max_attempts => {n})" for n in (1, 10000)), *(f"enqueue_job('t', timeout_seconds => {n})" for n in (1, 2592000)),
    *(f"enqueue_job('t', run_at => {x})" for x in ("'1970-01-01 00:00:00.000001Z'", "runledger._now() + interval '3650 days'", "runledger._now() + interval '3650 days' - interval '1 us'")),
    *(f"enqueue_job('t', idempotency_key => {x})" for x in ("'x'", "repeat('é', 256)")), "enqueue_job('t', stage => repeat('é', 100))", "enqueue_job('t', payload => null)",
    "define_job(repeat('é', 100))", "define_job('t', version => 1)", *(f"define_job('t', max_attempts => {n})" for n in (1, 10000)), *(f"define_job('t', timeout_seconds => {n})" for n in (1, 2592000)),
    *(f"define_job('t', max_concurrency => {n})" for n in (0, 1, 100000)), "define_job('t', retry_base_ms => 1)", "define_job('t', retry_base_ms => 7, retry_max_ms => 7)", "define_job('t', retry_max_ms => 5000)",
    """define_job('t', retry_delays_ms => '{"a": 1, "b": 315360000000, "c": 2.0}')""", "define_job('t', retry_delays_ms => '{}')",
    *(f"{verb}('t', {x})" for verb in ("pause_job_type", "disable_job_type") for x in ("null", "'r'", "repeat('é', 4096)")),
    "set_runtime_config('t', '{}', 1)", "set_runtime_config('t', '{}', 2147483647)", "set_runtime_config('t', jsonb_build_object('a', repeat('x', 65000)))",
    *(f"report_progress({LEASE}, done => {d}, total => {n})" for d, n in ((0, 0), (5, 5), (0, "null"), ("null", 0), (2**63 - 1, 2**63 - 1))), f"report_progress({LEASE}, stage => repeat('é', 100))",
    f"report_progress({LEASE}, checkpoint => to_jsonb(repeat('x', 262000)))",
    f"fail_job({LEASE}, 'e', null)", f"fail_job({LEASE}, repeat('é', 100), 'm')", f"fail_job({LEASE}, 'e', 'm', not_before => '1970-01-01 00:00:00.000001Z')",
    f"continue_job({LEASE}, '3650 days')", f"continue_job({LEASE}, '0')", f"release_job({LEASE}, repeat('é', 4096))", f"release_job({LEASE}, 'r', '3650 days')",
    *(f"reap_expired_leases({n})" for n in (1, 1000)), *(f"reap_expired_leases(1, '{x}')" for x in ("0", "3650 days")),
    *(f"redrive_dead_letters({x})" for x in ("'r', max_jobs => 1", "'r', max_jobs => 1000", "repeat('é', 4096)")), *(f"cancel_job(%(job_id)s, {x})" for x in ("null", "repeat('é', 4096)")),
    *(f"replay_job(%(done)s, {key}, {why})" for key, why in (("'k'", "'r'"), ("repeat('é', 256)", "repeat('é', 4096)"))), "redact_job(%(done)s, repeat('é', 4096))",
    *(f"log_job(%(job_id)s, {level}, {words})" for level, words in (("repeat('é', 100)", "'m'"), ("'x'", "repeat('é', 4096)"))), "log_job(%(job_id)s, 'x', 'm', to_jsonb(repeat('x', 16300)))",
    "job_statuses(array_fill(%(job_id)s::uuid, '{1000}'))", "job_statuses('{}')", "job_log_payloads(%(job_id)s, array_fill(1::bigint, '{1000}'))", "job_log_payloads(%(job_id)s, '{}')",
    """log_jobs(jsonb_build_array(jsonb_build_object('job_id', %(job_id)s::uuid, 'level', repeat('é', 100), 'message', repeat('é', 4096))))""",
    "enqueue_jobs('[]')", "finish_jobs('[]')", "log_jobs('[]')",
]  # fmt: skip
BEYOND = [
    ("log_job(%(job_id)s, 'x', 'm', to_jsonb(repeat('x', 16384)))", "json.too_large"), ("set_runtime_config('t', jsonb_build_object('a', repeat('x', 65536)))", "json.too_large"),
    (f"report_progress({LEASE}, checkpoint => to_jsonb(repeat('x', 262144)))", "json.too_large"), ("define_job('t', retry_delays_ms => jsonb_build_object(repeat('x', 65536), 1))", "json.too_large"),
    ("correct_payload(%(pending)s, to_jsonb(repeat('x', 262144)), 'r')", "json.too_large"),
    (f"report_progress({LEASE}, done => 1, total => 0)", "job.invalid_progress"), (f"report_progress({LEASE}, total => -1)", "job.invalid_progress"),
    ("enqueue_job('t', run_at => '1970-01-01Z')", "job.invalid_run_at"), ("enqueue_job('t', run_at => runledger._now() + interval '3650 days 1 us')", "job.invalid_run_at"),
    (f"continue_job({LEASE}, '3650 days 0.001 s')", "job.invalid_continuation_delay"), (f"release_job({LEASE}, 'r', '3650 days 0.001 s')", "job.invalid_retry_delay"),
    ("reap_expired_leases(1, '3650 days 0.001 s')", "job.invalid_retry_delay"), (f"fail_job({LEASE}, 'e', 'm', not_before => '1970-01-01Z')", "job.invalid_retry_timing"),
    ("job_log_payloads(%(job_id)s, array_fill(1::bigint, '{1001}'))", "job.invalid_ids"), ("job_log_payloads(%(job_id)s, null)", "job.invalid_ids"), ("job_log_payloads(%(job_id)s, '{1,NULL}')", "job.invalid_ids"),
    ("job_log_payloads(%(job_id)s, '{{1}}')", "job.invalid_ids"), ("define_job('t', retry_base_ms => 8, retry_max_ms => 7)", "job_definition.invalid_retry_policy"),
]  # fmt: skip


def test_what_lies_at_a_bound_is_taken(db: Db, q: Ledger, clock: Clock):
    clock.stop()
    lease = q.leased()
    done = q.leased()
    q.succeed(done)
    given = {**lease, "done": done["job_id"], "pending": q.enqueue(priority=-1)}
    with q.unchanged():
        for call, code in BEYOND:
            with q.refused(code):
                q.conn.execute(f"select * from runledger.{call}".encode(), given)
    db.execute("begin")
    for call in TAKEN:
        db.execute("savepoint one")
        rows = db.all(f"select * from runledger.{call}", given)
        assert "INVALID" not in str(rows), call
        db.execute("rollback to one")
    db.execute("rollback")


LONG = "x" * 5000
TOLD: dict[str, tuple[Callable[[Ledger], object], dict[str, Any]]] = {
    "enqueue_job": (lambda q: q.enqueue(LONG), {"job_type": "x" * 200}),
    "enqueue_job, keyed": (lambda q: q.enqueue(LONG, idempotency_key="k"), {"job_type": "x" * 200}),
    "set_runtime_config": (lambda q: q.row("set_runtime_config", job_type=LONG, config={}), {"job_type": "x" * 200}),
    "runtime_config": (lambda q: q.row("runtime_config", job_type=LONG), {"job_type": "x" * 200}),
    "pause_job_type": (lambda q: q.row("pause_job_type", job_type=LONG), {"job_type": "x" * 200}),
    "claim_jobs, jobs": (lambda q: q.claim(1001), {"max_jobs": 1001, "max": 1000}),
    "claim_jobs, seconds": (lambda q: q.claim(1, lease_seconds=86_401), {"lease_seconds": 86_401, "max": 86_400}),
    "claim_jobs, types": (lambda q: q.rows("claim_jobs", worker_id="w", job_types=[None]), {"max_types": 1000}),
    "heartbeat_jobs": (lambda q: q.rows("heartbeat_jobs", job_ids=[], lease_tokens=[], lease_seconds=0), {"lease_seconds": 0, "max": 86_400}),
    "start_jobs": (lambda q: q.rows("start_jobs", job_ids=[], lease_tokens=None), {"max_jobs": 1000}),
    "reap_expired_leases": (lambda q: q.reap(max_jobs=0), {"max_jobs": 0, "max": 1000}),
    "enqueue_jobs": (lambda q: q.rows("enqueue_jobs", jobs={}), {"max_items": 10_000, "max_bytes": 33_554_432}),
    "enqueue_jobs, strict": (lambda q: q.rows("enqueue_jobs", jobs=[{"job_type": "t"}, {"job_type": "x"}, 7], strict=True), {"ordinal": 2}),
    "list_jobs": (lambda q: q.rows("list_jobs", max_rows=1001), {"max_rows": 1001, "max": 1000}),
    "job_statuses": (lambda q: q.rows("job_statuses", job_ids=None), {"max": 1000}),
    "log_job": (lambda q: q.rows("log_job", job_id=NOBODY, level="x", message=""), {"max_message_bytes": 8192}),
    "report_progress": (lambda q: q.row("report_progress", job_id=NOBODY, lease_token=1, checkpoint="x" * 262_144), {"argument": "checkpoint", "max_bytes": 262_144}),
    "succeed_job": (lambda q: q.row("succeed_job", job_id=NOBODY, lease_token=1, output="x" * 262_144), {"argument": "output", "max_bytes": 262_144}),
    "get nobody": (lambda q: q.row("cancel_job", job_id=NOBODY), {"job_id": str(NOBODY)}),
    "define_job": (lambda q: q.define("t", version=0), {"job_type": "t"}),
    "define_job, JSON": (lambda q: q.define("t", retry_delays_ms={"x" * 65_536: 1}), {"argument": "retry_delays_ms", "max_bytes": 65_536}),
    "grant_access": (lambda q: q.row("grant_access", role_name="r" * 63, kind="worker"), {"role": "r" * 63}),
    "grant_access, types": (lambda q: q.row("grant_access", role_name="r", kind="worker", job_types=[]), {"max_types": 1000}),
}  # fmt: skip


def test_what_an_error_tells_beside_its_code(q: Ledger):
    for name, (call, want) in TOLD.items():
        with pytest.raises(psycopg.Error) as raised:
            call(q)
        detail = json.loads(raised.value.diag.message_detail or "{}")
        assert detail.pop("code")
        assert detail == want, name
