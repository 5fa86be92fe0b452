"""fsck: nothing on a sound ledger, also under load; and for each invariant a corruption that it sees."""

from __future__ import annotations

import inspect
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from tests import conftest
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import LATER, TENANT, Ledger
from tests.support.plpgsql import functions
from tests.support.stories import Stories, drop_guards
from tests.support.told import UUID_, Told, findings, telling

# Whatever would refuse a corruption of these is taken away first.
GUARDED = ("job_queue", "job_attempts", "job_replays", "job_dead_letters", "job_schedules")

SECRET = "sekrit"
LOOKS = ("select * from runledger.job_timeline ", "select * from runledger.running_jobs ")
TYPES = ("done", "pending", "delayed", "retrying", "leased", "prestart", "dead", "redriven", "canceled", "stopping",
         "quiet", "requeued", "continued", "released", "keyed", "redacted")  # fmt: skip


def claim_soon(q: Ledger, job_id: UUID, job_type: str) -> dict[str, Any]:
    """Claim that job, which is due in a moment; what else waits of its type must not come before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if q.db.value("select next_run_at <= runledger._now() from runledger.job_queue where id = %s", [job_id]):
            return q.hold(job_id, job_type)
    raise TimeoutError(job_type)


def tell_story(q: Ledger, *, again: bool = False) -> dict[str, UUID]:
    """A ledger in which everything happened once; the jobs by name."""
    for job_type in TYPES:
        q.define(job_type, retry_delays_ms={"e.x": 1})
    body = {"payload": {"card": SECRET}}
    # What the first story left pending must not come before the second.
    place, key = (101, SECRET + "again") if again else (100, SECRET)
    jobs: dict[str, UUID] = {}

    lease = q.leased("done", priority=place, **body)
    q.fail(lease, message=SECRET)
    lease = claim_soon(q, lease["job_id"], "done")
    q.row("report_progress", **lease, done=1, total=2, checkpoint={"at": SECRET}, stage="halfway")
    q.row("log_job", job_id=lease["job_id"], level="info", message=SECRET, lease_token=lease["lease_token"])
    q.succeed(lease, output={"made": SECRET}, done=2)
    jobs["done"] = lease["job_id"]

    jobs["pending"] = q.enqueue("pending", priority=place, **body)
    q.row("correct_payload", job_id=jobs["pending"], payload={"card": SECRET, "n": 2}, reason="wrong card")
    jobs["other"] = q.enqueue("pending", priority=place, **body)
    jobs["delayed"] = q.enqueue("delayed", priority=place, run_at=q.db.value("select now() + %s", [LATER]))

    lease = q.leased("retrying", priority=place, **body)
    q.row("fail_job", **lease, error_code="e.slow", error_message=SECRET)
    jobs["retrying"] = lease["job_id"]

    jobs["leased"] = q.leased("leased", priority=place, lease_seconds=3600, **body)["job_id"]
    second = q.leased("leased", priority=place, lease_seconds=3600)
    q.beat(second, lease_seconds=4000)
    jobs["leased2"] = second["job_id"]
    jobs["prestart"] = q.leased("prestart", priority=place, lease_seconds=3600, prestart=True)["job_id"]
    started = q.leased("prestart", priority=place, prestart=True)
    q.start(started)
    q.succeed(started)

    lease = q.leased("dead", priority=place, **body)
    q.fail(lease, kind="PANICKED", message=SECRET)
    jobs["dead"] = lease["job_id"]
    jobs["redriven"] = q.dead("redriven", priority=place)
    q.row("requeue_job", job_id=jobs["redriven"], reason="fixed")
    q.succeed(q.hold(jobs["redriven"], "redriven"))

    jobs["canceled"] = q.enqueue("canceled", priority=place)
    q.row("cancel_job", job_id=jobs["canceled"], reason="no need")
    jobs["stopping"] = q.leased("stopping", priority=place, lease_seconds=3600)["job_id"]
    q.row("cancel_job", job_id=jobs["stopping"])
    lease = q.leased("quiet", priority=place)
    q.row("cancel_job", job_id=lease["job_id"])
    assert q.finish_one(lease, "RELEASE", reason="stopped")["code"] == "job.canceled"
    jobs["quiet"] = lease["job_id"]
    jobs["requeued"] = q.enqueue("requeued", priority=place)
    q.row("cancel_job", job_id=jobs["requeued"])
    q.row("requeue_job", job_id=jobs["requeued"], reset_state=False)

    lease = q.leased("continued", priority=place)
    assert q.row("continue_job", **lease, done=3)["disposition"] == "CONTINUED"
    jobs["continued"] = q.hold(lease["job_id"], "continued", lease_seconds=3600)["job_id"]
    lease = q.leased("released", priority=place)
    q.release(lease)
    jobs["released"] = lease["job_id"]

    jobs["keyed"] = q.enqueue("keyed", priority=place, idempotency_key=key, **body)
    jobs["keyed2"] = q.enqueue("keyed", priority=place, idempotency_key=key + "2", **body)
    jobs["tenant"] = q.enqueue("keyed", priority=place, idempotency_key=key, organization_id=TENANT)
    jobs["tenant2"] = q.enqueue("keyed", priority=place, idempotency_key=key + "2", organization_id=TENANT)
    jobs["redacted"] = q.dead("redacted", priority=place, **body)
    q.row("redact_job", job_id=jobs["redacted"], reason="asked to")
    # No jobs, but names for what there is not.
    jobs["nobody"], jobs["schedule"] = (UUID(f"0190cf00-0000-7000-8000-00000000000{n + 2 * again}") for n in (1, 2))
    jobs["replay"] = q.row("replay_job", job_id=jobs["done"], request_key=key, reason="again")["job_id"]
    return jobs


def test_nothing_is_found_in_a_varied_life(q: Ledger, db: Db):
    tell_story(q)
    q.rows("run_maintenance")
    assert q.rows("fsck") == []
    assert q.rows("fsck", scope="fast") == []
    assert q.rows("fsck", workflow_run_id=uuid4()) == []


def test_nothing_is_found_after_leases_ran_out(q: Ledger, clock):
    retried = q.leased(lease_seconds=5)
    dead = q.leased(lease_seconds=5, max_attempts=1)
    unstarted = q.leased(lease_seconds=5, prestart=True)
    stopping = q.leased(lease_seconds=5)
    q.row("cancel_job", job_id=stopping["job_id"])
    clock.advance(6)
    assert q.rows("fsck") == []
    assert Counter(r["disposition"] for r in q.reap()) == {"RETRY_SCHEDULED": 1, "DEAD_LETTERED": 1, "RELEASED": 1}
    assert {q.job(x["job_id"])["status"] for x in (retried, unstarted)} == {"PENDING"}
    assert q.job(dead["job_id"])["status"] == "DEAD_LETTERED"
    assert q.rows("fsck") == []


def test_nothing_is_found_when_releases_are_charged(q: Ledger, db: Db):
    job_id = q.enqueue(max_attempts=2)
    db.execute("update runledger.job_queue set release_count = 100 where id = %s", [job_id])
    assert q.release(q.hold(job_id))["disposition"] == "RELEASED"
    assert [a["disposition"] for a in db.attempts(job_id)] == ["RELEASED"]
    assert q.rows("fsck") == []
    assert q.release(q.hold(job_id))["disposition"] == "DEAD_LETTERED"
    assert q.rows("fsck") == []


def test_a_limit_lowered_below_what_runs_is_no_finding(q: Ledger):
    q.define("slow", max_concurrency=5)
    q.enqueue_many(3, "slow")
    assert len(q.claim(3, "slow")) == 3
    q.define("slow", max_concurrency=1)
    assert q.rows("fsck") == []


def test_bad_arguments_are_refused(q: Ledger):
    for scope in ("", "FULL", None):
        with q.refused("operations.invalid_scope"):
            q.rows("fsck", scope=scope)
    for max_rows in (0, -1, 1001, None):
        with q.refused("job.invalid_pagination"):
            q.rows("fsck", max_rows=max_rows)


def test_all_of_it_reads_one_snapshot(db: Db):
    """A stable function reads in the snapshot of the statement that calls it; a volatile one takes its own."""
    volatility = dict(
        db.conn.execute("select proname::text, provolatile::text from pg_proc where proname ~ '^_?fsck'").fetchall()
    )
    assert volatility["fsck"] == "s"
    assert len(volatility) > 10
    assert set(volatility.values()) <= {"s", "i"}


@dataclass(frozen=True)
class Corruption:
    """`sql` brings it about; {name} is a job of the story. `fast`: a fast pass sees it, too."""

    name: str
    invariant: str
    sql: str
    repairable: bool = True
    fast: bool = False
    severity: str = "ERROR"

    def __str__(self) -> str:
        return f"{self.invariant}-{self.name.replace(' ', '_')}"


def job(change: str, name: str) -> str:
    return f"update runledger.job_queue set {change} where id = '{{{name}}}'"


def attempt(change: str, name: str, number: int = 1) -> str:
    return f"update runledger.job_attempts set {change} where job_id = '{{{name}}}' and attempt = {number}"


def event(change: str, name: str, kind: str, number: int = 1) -> str:
    return f"update runledger.job_events set {change} where job_id = '{{{name}}}' and event_type = '{kind}' and attempt = {number}"


def no_event(name: str, kind: str, number: int = 1) -> str:
    return (
        f"delete from runledger.job_events where job_id = '{{{name}}}' and event_type = '{kind}' and attempt = {number}"
    )


OPEN = ("finished_at = null, disposition = null, outcome = null, retry_delay_ms = null,"
        " effective_next_run_at = null, retry_timing_source = null")  # fmt: skip
FIRE = "schedule_id = '{schedule}', scheduled_for = '2026-01-01 00:00+00'"

CORRUPTIONS = [
    Corruption("leased without worker", "J1", job("worker_id = null", "leased"), fast=True),
    Corruption("leased without token", "J1", job("lease_token = null, lease_expires_at = null", "leased")),
    Corruption("leased without heartbeat", "J1", job("last_heartbeat_at = null", "leased"), fast=True),
    Corruption("leased without token or attempt", "J1", job("lease_token = null, lease_expires_at = null", "leased") + ";"
               "delete from runledger.job_attempts where job_id = '{leased}'"),
    Corruption("leased without worker, beyond the budget", "J1", job("worker_id = null, attempt = 99", "leased"), fast=True),
    Corruption("pending with a lease", "J1",
               job("lease_token = 1, lease_expires_at = now() + interval '1 hour'", "pending"), fast=True),
    Corruption("canceled with a worker", "J1", job("worker_id = 'w'", "stopping"), fast=True),
    Corruption("canceled with half a lease", "J1", job("lease_expires_at = null", "stopping"), fast=True),
    Corruption("canceled with the other half of a lease", "J1", job("lease_token = null", "stopping")),
    Corruption("finished with a lease", "J1",
               job("lease_token = 7, lease_expires_at = now() + interval '1 hour'", "done"), fast=True),
    Corruption("finished without an end", "J2", job("finished_at = null", "done")),
    Corruption("pending with an end", "J2", job("finished_at = now()", "pending"), fast=True),
    Corruption("attempts beyond the budget", "J3", job("attempt = 99", "leased"), fast=True),
    Corruption("leased without an attempt", "J3", job("attempt = 0", "leased"), fast=True),
    Corruption("leased without any attempt", "J3", job("attempt = 0", "leased") + ";"
               "delete from runledger.job_attempts where job_id = '{leased}'", fast=True),
    Corruption("attempts below none", "J3", job("attempt = -1", "pending")),
    Corruption("not one attempt granted", "J3", job("max_attempts = 0", "done")),
    Corruption("run zero", "J3", job("run_number = 0", "pending") + ";"
               "update runledger.job_events set run_number = 1 where job_id = '{pending}'"),
    Corruption("retry past the limit", "J4", job("max_attempts = 1", "retrying"), fast=True),
    Corruption("due at infinity", "J5", job("next_run_at = 'infinity'", "pending")),
    Corruption("due in a century", "J5", job("next_run_at = now() + interval '100 years'", "delayed")),
    Corruption("leased for ever", "J5", job("lease_expires_at = 'infinity'", "leased"), fast=True),
    Corruption("leased for a century", "J5", job("lease_expires_at = now() + interval '100 years'", "leased"), fast=True),
    Corruption("clock set back under a lease", "J6",
               job("last_heartbeat_at = now() + interval '1 hour', lease_expires_at = now() + interval '2 hours'", "leased"),
               fast=True, severity="WARN"),
    Corruption("nobody reaps", "J7", job("lease_expires_at = now() - interval '1 hour'", "leased"),
               fast=True, severity="WARN"),
    Corruption("nobody reaps a canceled one", "J7", job("lease_expires_at = now() - interval '1 hour'", "stopping"),
               fast=True, severity="WARN"),
    Corruption("token of two jobs", "J8",
               job("lease_token = (select lease_token from runledger.job_queue where id = '{leased}')", "leased2") + ";"
               + attempt("lease_token = (select lease_token from runledger.job_queue where id = '{leased}')", "leased2"),
               fast=True),
    Corruption("sequence gone back", "J9", "select setval('runledger.lease_token_seq', 1)", fast=True),
    Corruption("sequence gone back to its start", "J9", "alter sequence runledger.lease_token_seq restart", fast=True),
    Corruption("sequence behind what is over", "J9",
               "select setval('runledger.lease_token_seq', (select max(lease_token) from runledger.job_queue))"),
    Corruption("limit exceeded", "J10",
               "update runledger.job_definitions set max_concurrency = 1, updated_at = created_at where job_type = 'leased'",
               repairable=False, fast=True),
    Corruption("limit exceeded long after it was set", "J10",
               "update runledger.job_definitions set max_concurrency = 1, created_at = now() - interval '2 days',"
               " updated_at = now() - interval '1 day' where job_type = 'leased'", repairable=False, fast=True),
    Corruption("type deleted", "J11", "delete from runledger.job_definitions where job_type = 'retrying'", fast=True),
    Corruption("type of a leased job deleted", "J11",
               "delete from runledger.job_definitions where job_type = 'leased'", fast=True),
    Corruption("fat payload", "J12", job("payload = jsonb_build_object('a', repeat('sekrit', 50000))", "pending")),
    Corruption("unreadable number", "J12", job("""output = '{{"sekrit": 1e4300}}'""", "done")),
    Corruption("endless text", "J12",
               job("checkpoint = (select jsonb_agg('1e131071'::jsonb) from generate_series(1, 300))", "leased")),
    *(Corruption(f"{values} is no {values.split()[0]}", "J13", job(values, name),
                 repairable="job_type" not in values) for values, name in (
        ("job_type = ' '", "pending"),
        ("worker_id = ''", "leased"),
        ("stage = E'\\t'", "pending"),
        ("timeout_seconds = 0", "pending"),
        ("progress_done = 2, progress_total = 1, progress_pct = 200", "leased"),
        ("progress_done = 1, progress_total = 4", "leased"),
        ("progress_done = -1", "leased"),
        ("progress_total = -1", "pending"),
        ("progress_pct = 50", "pending"),
        ("output = '1'", "pending"),
        ("schedule_id = gen_random_uuid()", "pending"),
        ("scheduled_for = now()", "pending"),
        ("last_lease_token = 1", "pending"),
        ("job_type = E'\\n'", "dead"),
        ("last_disposition = 'RELEASED'", "pending"))),
    Corruption("key of two jobs", "K1", job("idempotency_key = 'sekrit'", "keyed2"), fast=True),
    Corruption("key of two jobs of a tenant", "K1", job("idempotency_key = 'sekrit'", "tenant2"), fast=True),
    Corruption("key without its request", "K2", job("enqueue_request = null", "keyed")),
    Corruption("blank key", "K2", job("idempotency_key = E' \\t'", "keyed")),
    Corruption("long key", "K2", job("idempotency_key = repeat('sekrit', 100)", "tenant")),
    Corruption("fired twice", "S1", job(FIRE, "pending") + ";" + job(FIRE, "other"), fast=True),

    Corruption("lease without attempt", "A1", "delete from runledger.job_attempts where job_id = '{leased}'"),
    Corruption("attempt of another token", "A1", attempt("lease_token = lease_token + 1", "leased")),
    Corruption("attempt of another worker", "A1", attempt("worker_id = 'w9'", "leased")),
    Corruption("attempt over before its lease", "A1",
               attempt("finished_at = now(), disposition = 'DEAD_LETTERED', outcome = 'TERMINAL'", "leased")),
    Corruption("attempt left open by a retry", "A2", attempt(OPEN, "done", 1)),
    Corruption("attempt left open by a success", "A2", attempt(OPEN, "done", 2)),
    Corruption("attempt left open by a dead letter", "A2", attempt(OPEN, "dead")),
    Corruption("attempt left open by a cancel", "A2", attempt(OPEN, "stopping")),
    Corruption("attempt left open by a run before", "A2", attempt(OPEN, "redriven") + " and run_number = 1"),
    Corruption("attempt left open by what goes on", "A2", attempt(OPEN, "continued") + " and run_number = 1"),
    Corruption("attempt lost", "A3", "delete from runledger.job_attempts where job_id = '{done}' and attempt = 1",
               repairable=False),
    Corruption("only attempt lost", "A3", "delete from runledger.job_attempts where job_id = '{retrying}'",
               repairable=False),
    Corruption("attempt of another number", "A3", attempt("attempt = 2", "dead"), repairable=False),
    Corruption("attempt of a run that is over lost", "A3",
               "delete from runledger.job_attempts where job_id = '{redriven}' and run_number = 2", repairable=False),
    Corruption("failure without an end", "A4", attempt("outcome = 'TERMINAL'", "leased")),
    Corruption("end without a disposition", "A4", attempt("disposition = null", "quiet")),
    Corruption("end of an unknown kind", "A4", attempt("disposition = 'LOST'", "quiet")),
    Corruption("delay without a retry", "A4",
               attempt("retry_delay_ms = 1, effective_next_run_at = now(), retry_timing_source = 'POLICY'", "done", 2)),
    Corruption("retry without a delay", "A4", attempt("retry_delay_ms = null", "done", 1)),
    Corruption("retry without an instant", "A4", attempt("effective_next_run_at = null", "done", 1)),
    Corruption("retry without a source", "A4", attempt("retry_timing_source = null", "done", 1)),
    Corruption("dead letter without an outcome", "A4", attempt("outcome = null", "dead")),
    Corruption("success with an outcome", "A4", attempt("outcome = 'TERMINAL'", "done", 2)),
    Corruption("disposition without an end", "A4", attempt("finished_at = null", "done", 1)),
    Corruption("finished before it was started", "A4",
               attempt("started_at = finished_at, finished_at = finished_at - interval '6 seconds'", "dead"), severity="WARN"),
    Corruption("direct claim never started", "A4", attempt("started_at = null", "leased")),
    Corruption("started before it was leased", "A4", attempt("started_at = leased_at - interval '1 hour'", "leased"),
               severity="WARN"),
    Corruption("finished before it was leased", "A4", attempt("finished_at = leased_at - interval '1 hour'", "done"),
               severity="WARN"),
    Corruption("attempts overlap", "A5", attempt("finished_at = finished_at + interval '1 hour'", "done"),
               repairable=False),
    Corruption("success by a failed attempt", "A6",
               attempt("disposition = 'RETRY_SCHEDULED', outcome = 'TIMEOUT', retry_delay_ms = 1,"
                       " effective_next_run_at = now(), retry_timing_source = 'POLICY'", "done", 2)),
    Corruption("dead by a canceled attempt", "A6", attempt("disposition = 'CANCELED', outcome = null", "dead")),
    Corruption("orphan attempt", "A7",
               "insert into runledger.job_attempts (job_id, run_number, attempt, worker_id, lease_token, leased_at,"
               " started_at, finished_at, disposition) values ('{nobody}', 1, 1, 'w', 1, now(), now(), now(), 'SUCCEEDED')"),
    Corruption("attempt of a later run", "A7", attempt("run_number = 2", "dead"), repairable=False),
    Corruption("token that does not rise", "A8",
               attempt("lease_token = (select a.lease_token from runledger.job_attempts as a"
                       " where a.job_id = '{done}' and a.attempt = 1)", "done", 2), repairable=False),

    Corruption("transition lost", "E1", no_event("done", "LEASED", 2), repairable=False),
    Corruption("transition of another kind", "E1", event("event_type = 'SUCCEEDED'", "done", "FAILED"), repairable=False),
    Corruption("failure without a consequence", "E1", no_event("retrying", "RETRY_SCHEDULED"), repairable=False),
    Corruption("success gone on", "E1",
               "insert into runledger.job_events (job_id, run_number, event_type, occurred_at)"
               " values ('{done}', 1, 'CANCELED', now())", repairable=False),
    Corruption("no beginning", "E1",
               "delete from runledger.job_events where job_id = '{dead}' and event_type = 'ENQUEUED'", repairable=False),
    Corruption("time goes back", "E2", event("occurred_at = '2000-01-01'", "done", "SUCCEEDED", 2),
               repairable=False, severity="WARN"),
    Corruption("last event lost", "E3", no_event("done", "SUCCEEDED", 2), repairable=False),
    Corruption("status changed without an event", "E3",
               job("status = 'CANCELED', finished_at = now()", "pending"), repairable=False),
    Corruption("success told of another attempt", "E3", event("attempt = 1", "done", "SUCCEEDED", 2), repairable=False),
    Corruption("two successes", "E4",
               "insert into runledger.job_events (job_id, run_number, attempt, event_type, occurred_at)"
               " values ('{done}', 1, 2, 'SUCCEEDED', now())", repairable=False),
    Corruption("claim without its event", "E5", no_event("dead", "LEASED"), repairable=False),
    Corruption("claim of a later run without its event", "E5",
               no_event("redriven", "LEASED") + " and run_number = 2", repairable=False),
    Corruption("orphan event", "E6",
               "insert into runledger.job_events (job_id, run_number, event_type, occurred_at)"
               " values ('{nobody}', 1, 'ENQUEUED', now())"),
    Corruption("event of a later run", "E6", event("run_number = 9", "dead", "LEASED"), repairable=False),

    Corruption("letter without a job", "D1",
               "insert into runledger.job_dead_letters (job_id, job_type, run_number, attempt, payload_snapshot, failed_at)"
               " values ('{nobody}', 't', 1, 1, '{{}}', now())"),
    Corruption("dead without a letter", "D2", "delete from runledger.job_dead_letters where job_id = '{dead}'"),
    Corruption("letter of another attempt", "D2",
               "update runledger.job_dead_letters set attempt = 2 where job_id = '{dead}'"),
    Corruption("letter of another run", "D2",
               "update runledger.job_dead_letters set run_number = 0 where job_id = '{dead}'"),
    Corruption("letter of a living run", "D3",
               "insert into runledger.job_dead_letters (job_id, job_type, run_number, attempt, payload_snapshot, failed_at)"
               " values ('{pending}', 'pending', 1, 1, '{{}}', now())"),
    Corruption("letter of a run to come", "D3",
               "update runledger.job_dead_letters set run_number = 7 where job_id = '{redriven}'"),

    Corruption("replay of another run", "R1", "update runledger.job_replays set source_run_number = 7"),
    Corruption("replay of a dead job", "R1", "update runledger.job_replays set source_job_id = '{dead}'"),
    Corruption("replay without a job", "R1",
               "update runledger.job_replays set replay_job_id = '{nobody}' where replay_job_id = '{replay}'"),
    Corruption("replay of another type", "R1",
               "update runledger.job_replays set replay_job_id = '{other}' where replay_job_id = '{replay}'"),
    Corruption("replay for another tenant", "R1", job("organization_id = gen_random_uuid()", "replay")),
    Corruption("replayed twice for a key", "R2",
               "insert into runledger.job_replays select '{other}', source_job_id, source_run_number, request_key,"
               " reason, created_at from runledger.job_replays where source_job_id = '{done}'"),
    Corruption("cursor at infinity", "S2",
               "update runledger.job_schedules set next_fire_at = 'infinity', next_base_at = '-infinity'", fast=True),
    Corruption("base at infinity", "S2", "update runledger.job_schedules set next_base_at = '-infinity'", fast=True),
    Corruption("nobody fires schedules", "S3",
               "update runledger.job_schedules set next_fire_at = '2020-01-01', next_base_at = '2020-01-01'",
               fast=True, severity="WARN"),
]  # fmt: skip
# What looks like one of these and is none.
SOUND = {
    "a canceled job whose heartbeat lies ahead": job("last_heartbeat_at = now() + interval '1 hour'", "stopping"),
    "a lease that ended a while ago": job("lease_expires_at = now() - interval '14 minutes'", "leased"),
    "a limit that was lowered": "update runledger.job_definitions set max_concurrency = 1, updated_at = now()"
                                " where job_type = 'leased'",
    "a limit that is reached": "update runledger.job_definitions set max_concurrency = 4, updated_at = created_at"
                               " where job_type = 'leased'",
    "a limit that ended leases do not count for":
        job("lease_expires_at = now() - interval '1 minute'", "leased")
        + "; update runledger.job_definitions set max_concurrency = 3, updated_at = created_at where job_type = 'leased'",
    "a key that a job of another type has": job("idempotency_key = '{nobody}'", "keyed") + ";"
        + job("idempotency_key = '{nobody}', enqueue_request = '{{}}'", "delayed"),
    "a key that another tenant has": job("idempotency_key = '{nobody}'", "tenant") + ";"
        + job("organization_id = gen_random_uuid(), idempotency_key = '{nobody}'", "tenant2"),
    "fires of one schedule at two instants":
        job("schedule_id = '{schedule}', scheduled_for = '2026-01-01 00:00+00'", "pending") + ";"
        + job("schedule_id = '{schedule}', scheduled_for = '2026-01-02 00:00+00'", "other"),
    "fires of two schedules at one instant":
        job("schedule_id = '{schedule}', scheduled_for = '2026-01-01 00:00+00'", "pending") + ";"
        + job("schedule_id = '{nobody}', scheduled_for = '2026-01-01 00:00+00'", "other"),
    "a schedule that is late by minutes":
        "update runledger.job_schedules set next_fire_at = now() - interval '4 minutes', next_base_at = now()",
    "a schedule that is paused": "update runledger.job_schedules set is_active = false, next_fire_at = '2020-01-01',"
                                 " next_base_at = '2020-01-01'",
    "a replay of what was pruned": "update runledger.job_replays set source_job_id = '{nobody}'"
                                   " where replay_job_id = '{replay}'",
    "the last attempt at work": job("max_attempts = attempt", "leased"),
    "the last attempt failed": job("max_attempts = attempt", "dead"),
    "as much as is to be done": job("progress_done = 0, progress_total = 0, progress_pct = null", "pending"),
    "a key of 512 bytes": job("idempotency_key = left(repeat('{nobody}', 20), 512)", "tenant"),
    "a type of 200 bytes": job("worker_id = repeat('w', 200)", "leased") + ";"
                           + attempt("worker_id = repeat('w', 200)", "leased"),
}  # fmt: skip
FAST = {"J1", "J2", "J3", "J4", "J5", "J6", "J7", "J8", "J9", "J10", "J11", "K1", "S1", "S2", "S3"}


@pytest.fixture(scope="module")
def stories(pg) -> Iterator[Stories]:
    """Told once; each test takes back what it did to them."""
    db = Db(pg.take(), pg)
    q = Ledger(db)
    first, second = tell_story(q), tell_story(q, again=True)
    q.row("upsert_schedule", name="yearly", job_type="pending", cron="@yearly")
    q.row("upsert_schedule", name="monthly", job_type="pending", cron="@monthly")
    yield Stories(q, GUARDED, first, second, q.db.value("select max(id) from runledger.job_events"))
    assert q.rows("fsck") == []
    db.close()


@pytest.fixture
def told(request: pytest.FixtureRequest, stories: Stories) -> Iterator[Told]:
    with telling(request, names=stories.names) as told:
        yield told


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=str)
def test_corruption_is_seen_and_repaired(stories: Stories, told: Told, corruption: Corruption):
    """What is found and what mends it stands in told/test_fsck.txt, word for word."""
    q = stories.q
    try:
        with q.conn.transaction(force_rollback=True):
            guards = drop_guards(q.conn, GUARDED)
            # The second first, so that the order of findings is not that of the rows in their table.
            twin = corruption.sql.format(**stories.second)
            q.conn.execute(twin)
            if (sql := corruption.sql.format(**stories.first)) != twin:
                q.conn.execute(sql)
            assert_seen(stories, told, corruption)
            left = repair(q)
            if corruption.repairable:
                assert left == []
                q.conn.execute(guards)
                live_on(q)
            else:
                # History that is lost stays lost, and leases beyond a limit end by themselves: no statement mends
                # these, and fsck prints where to look instead.
                assert corruption.invariant in {f["invariant"] for f in left}
    finally:
        # No transaction takes a sequence back.
        q.conn.execute(
            "select setval('runledger.lease_token_seq', 1000 + max(lease_token)) from runledger.job_attempts"
        )


def assert_seen(stories: Stories, told: Told, corruption: Corruption) -> None:
    q = stories.q
    found = q.rows("fsck")
    mine = [f for f in found if f["invariant"] == corruption.invariant]
    assert mine, [f["invariant"] for f in found]
    assert {f["severity"] for f in mine} == {corruption.severity}
    assert {f["detail"]["violations"] for f in mine} == {len(mine)}
    assert SECRET not in str(found)
    for finding in found:
        # Of events that the corruption inserts, the ids depend on what other tests did.
        for name, ids in finding["detail"].items():
            if name == "event_id" and ids:
                finding["detail"][name] = ids if ids <= stories.last_event else "new"
            elif name == "event_ids":
                finding["detail"][name] = [i if i <= stories.last_event else "new" for i in ids]
    told.hear(*findings(found))
    invariants = list(dict.fromkeys(f["invariant"] for f in found))
    assert [brief(f) for f in q.rows("fsck", max_rows=1)] == [
        next(brief(f) for f in found if f["invariant"] == i) for i in invariants
    ]
    fast = q.rows("fsck", scope="fast")
    told.hear("fast: " + (", ".join(map(brief, fast)) or "nothing"))
    assert {f["invariant"] for f in fast} <= FAST
    assert (corruption.invariant in {f["invariant"] for f in fast}) == corruption.fast
    with q.conn.transaction(force_rollback=True):
        run = uuid4()
        q.conn.execute(
            "update runledger.job_queue set workflow_run_id = %s where id = any (%s)", [run, list(stories.first.values())]
        )
        of_run = [brief(f) for f in q.rows("fsck", workflow_run_id=run) if f["invariant"] != "W8"]
        told.hear("of the run of the first story: " + (", ".join(of_run) or "nothing"))


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
    """Every job can be brought to its end, those that were repaired, too."""
    q.rows("reap_expired_leases", max_jobs=1000)
    for row in q.conn.execute("select id, lease_token from runledger.job_queue where status = 'LEASED'").fetchall():
        assert q.finish_one({"job_id": row[0], "lease_token": row[1]}, "SUCCEEDED")["disposition"] == "SUCCEEDED"
    q.rows("redrive_dead_letters", reason="mended", max_jobs=1000)
    q.conn.execute("update runledger.job_queue set next_run_at = now() where status = 'PENDING'")
    for claimed in q.claim(1000, *TYPES):
        q.succeed({k: claimed[k] for k in ("job_id", "lease_token")})
    ends = q.conn.execute(
        "select distinct status::text from runledger.job_queue as q where not exists (select from"
        " runledger.job_events as e where e.job_id = q.id and e.event_type = 'REDACTED')"
    ).fetchall()
    assert {end for (end,) in ends} == {"SUCCEEDED", "CANCELED"}
    assert q.rows("fsck") == []


@pytest.mark.parametrize("name", SOUND)
def test_what_looks_alike_is_no_finding(stories: Stories, name: str):
    stories.assert_sound(SOUND[name])


def test_every_invariant_has_its_corruption():
    checked = {name for f in functions() if f.name.startswith("_fsck_") for name in re.findall(r"'([A-Z]\d+)'", f.text)}
    assert {i for i in checked if not i.startswith("W")} == {c.invariant for c in CORRUPTIONS}
    assert {c.invariant for c in CORRUPTIONS if c.fast} == FAST


@pytest.mark.corrupts
def test_disorder_passes_up_to_its_bound(q: Ledger, db: Db, clock: Clock):
    """As far as clocks may be set, and reapers be late, nothing is found; a microsecond more is."""
    clock.strike()
    q.leased(lease_seconds=3600)
    job_id = q.leased(lease_seconds=3600)["job_id"]
    over = q.leased()
    q.succeed(over)
    q.row("upsert_schedule", name="yearly", job_type="t", cron="@yearly")
    horizon = db.value("select runledger._limit('horizon_days') + 1")
    now, job_, done = "runledger._now()", f"where id = '{job_id}'", f"where job_id = '{over['job_id']}'"
    drop_guards(db.conn, GUARDED)
    for invariant, sql in (
        ("J5", f"update runledger.job_queue set next_run_at = {now} + interval '{horizon} days' + {{by}} {job_}"),
        ("J5", f"update runledger.job_queue set lease_expires_at = {now} + interval '{horizon} days' + {{by}} {job_}"),
        ("J6", f"update runledger.job_queue set last_heartbeat_at = {now} + interval '5 seconds' + {{by}} {job_}"),
        ("J7", f"update runledger.job_queue set lease_expires_at = {now} - interval '15 minutes' - {{by}} {job_}"),
        ("J10", "update runledger.job_definitions set max_concurrency = 1, created_at = '2020-01-01',"
                f" updated_at = {now} - interval '1 minute' - {{by}}"),
        ("A4", f"update runledger.job_attempts set started_at = leased_at - interval '5 seconds' - {{by}} {done}"),
        ("A4", f"update runledger.job_attempts set finished_at = started_at - interval '5 seconds' - {{by}} {done}"),
        ("A4", f"update runledger.job_attempts set finished_at = leased_at - interval '5 seconds' - {{by}},"
               f" started_at = leased_at - interval '1 second' {done}"),
        ("E2", f"update runledger.job_events set occurred_at = occurred_at - interval '1 minute' - {{by}} {done}"
               " and event_type = 'SUCCEEDED'"),
        ("S3", f"update runledger.job_schedules set next_fire_at = {now} - interval '5 minutes' - {{by}}"),
    ):  # fmt: skip
        for by, found in (("interval '0'", []), ("interval '1 microsecond'", [invariant])):
            with q.conn.transaction(force_rollback=True):
                q.conn.execute(sql.format(by=by).encode())
                assert [f["invariant"] for f in q.rows("fsck")] == found, sql


@pytest.mark.corrupts
@pytest.mark.parametrize("again", ["", " not valid", None])
def test_a_fast_look_trusts_only_constraints_that_stand_as_installed(q: Ledger, db: Db, again: str | None):
    job_id = q.enqueue()
    name = "a_pending_job_has_an_attempt_left"
    definition = db.value("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [name])
    db.execute(f"alter table runledger.job_queue drop constraint {name}")
    db.execute("update runledger.job_queue set attempt = max_attempts")
    # Gone; of the same name, but of another meaning; or never checked against the rows that were there.
    if again is not None:
        check = definition if again else "check (attempt >= 0)"
        db.execute(f"alter table runledger.job_queue add constraint {name} {check}{again}")
    assert [(f["invariant"], f["object"]) for f in q.rows("fsck", scope="fast")] == [("J4", f"job {job_id}")]


@pytest.mark.corrupts
def test_a_fast_look_trusts_what_stands_and_reads_no_rows_for_it(q: Ledger, db: Db):
    """Rows that are wrong though all stands, which only a superuser brings about: a full look finds them, too."""
    checks = ("a_lease_has_worker_token_and_expiry", "exactly_the_finished_jobs_have_finished_at",
              "a_pending_job_has_an_attempt_left")  # fmt: skip
    uniques = ("job_queue_one_job_per_tenant_key", "job_queue_one_job_per_global_key", "job_queue_one_job_per_fire")
    jobs = [q.enqueue(idempotency_key=str(n), organization_id=TENANT if n > 3 else None) for n in range(6)]
    again = [
        ("constraint", name, db.value("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [name]))
        for name in checks
    ] + [("index", name, db.value("select pg_get_indexdef(%s::regclass)", [f"runledger.{name}"])) for name in uniques]
    for kind, name, _ in again:
        db.execute(f"drop index runledger.{name}" if kind == "index" else f"alter table runledger.job_queue drop constraint {name}")
    for job_id, wrong in zip(jobs, ("worker_id = 'w'", "finished_at = now()", "attempt = max_attempts"), strict=False):
        db.execute(f"update runledger.job_queue set {wrong} where id = %s", [job_id])
    db.execute("update runledger.job_queue set idempotency_key = 'a', schedule_id = id, scheduled_for = now()")
    db.execute("update runledger.job_queue set schedule_id = %s where id = any (%s)", [UUID(int=1), jobs[:2]])
    wrong = {"J1", "J2", "J4", "K1", "S1"}
    assert {f["invariant"] for f in q.rows("fsck", scope="fast")} == wrong
    for kind, name, definition in again:
        if kind == "constraint":
            db.execute(f"alter table runledger.job_queue add constraint {name} {definition} not valid")
        else:
            db.execute(definition.replace("UNIQUE ", ""))
    db.execute("update pg_constraint set convalidated = true where conname = any (%s)", [list(checks)])
    db.execute(
        "update pg_index set indisunique = true where indexrelid = any (%s::regclass[])",
        [[f"runledger.{n}" for n in uniques]],
    )
    assert q.rows("fsck", scope="fast") == []
    assert {f["invariant"] for f in q.rows("fsck")} >= wrong


@pytest.mark.corrupts
def test_a_fast_look_trusts_only_unique_indexes_that_are_valid(q: Ledger, db: Db):
    jobs = [q.enqueue(idempotency_key=key) for key in ("a", "b")]
    index = "job_queue_one_job_per_global_key"
    definition = db.value("select pg_get_indexdef(%s::regclass)", [f"runledger.{index}"])
    db.execute(f"drop index runledger.{index}")
    db.execute("update runledger.job_queue set idempotency_key = 'a'")
    db.execute(definition.replace("UNIQUE ", ""))
    assert [(f["invariant"], f["object"]) for f in q.rows("fsck", scope="fast")] == [("K1", f"job {min(jobs)}")]
    db.execute(f"drop index runledger.{index}")
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute(definition.replace("INDEX", "INDEX concurrently"))
    assert not db.value("select indisvalid from pg_index where indexrelid = %s::regclass", [f"runledger.{index}"])
    assert {f["invariant"] for f in q.rows("fsck", scope="fast")} == {"K1"}


@pytest.mark.corrupts
def test_rows_are_bounded_and_counted(q: Ledger, db: Db):
    q.enqueue_many(7)
    drop_guards(db.conn, GUARDED)
    db.execute("update runledger.job_queue set next_run_at = 'infinity', finished_at = now()")
    found = q.rows("fsck", max_rows=3)
    assert Counter(f["invariant"] for f in found) == {"J2": 3, "J5": 3}
    assert {f["detail"]["violations"] for f in found} == {7}
    assert len(q.rows("fsck")) == 14


@pytest.mark.corrupts
def test_history_is_bounded_and_counted(q: Ledger, db: Db):
    for _ in range(4):
        q.succeed(q.leased())
    db.execute("delete from runledger.job_events where event_type in ('LEASED', 'SUCCEEDED')")
    db.execute("update runledger.job_events set event_type = 'FAILED'")
    found = q.rows("fsck", max_rows=2)
    assert Counter(f["invariant"] for f in found) == {"E1": 2, "E3": 2, "E5": 2}
    assert {f["detail"]["violations"] for f in found} == {4}


@pytest.mark.corrupts
def test_shared_keys_and_fires_are_bounded_and_counted(q: Ledger, db: Db):
    for n in range(12):
        q.enqueue(idempotency_key=f"{SECRET}{n}")
    drop_guards(db.conn, GUARDED)
    db.execute("""
        update runledger.job_queue as q
           set idempotency_key = (p.n % 4)::text, schedule_id = '0190cf00-0000-7000-8000-000000000002',
               scheduled_for = '2026-01-01'::timestamptz + (p.n % 4) * interval '1 day'
          from (select id, row_number() over () as n from runledger.job_queue) as p where p.id = q.id""")
    found = q.rows("fsck", max_rows=3)
    assert Counter(f["invariant"] for f in found) == {"K1": 3, "S1": 3}
    assert {(f["detail"]["jobs"], len(f["detail"]["job_ids"]), f["detail"]["violations"]) for f in found} == {(3, 3, 4)}


@pytest.mark.corrupts
def test_of_many_that_share_something_ten_are_named(q: Ledger, db: Db):
    q.enqueue_many(12)
    jobs = sorted(str(c["job_id"]) for c in q.claim(12))
    drop_guards(db.conn, GUARDED)
    # Backwards, so that the rows do not stand in the order of their ids.
    for job_id in reversed(jobs):
        db.execute(
            "update runledger.job_queue set lease_token = 1, idempotency_key = 'k', enqueue_request = '{}',"
            " schedule_id = %s, scheduled_for = '2026-01-01' where id = %s",
            [UUID(int=1), job_id],
        )
        db.execute(
            "insert into runledger.job_replays values (%s, %s, 1, 'r', 'again', runledger._now())", [job_id, jobs[0]]
        )
        db.execute(
            "insert into runledger.job_events (job_id, run_number, attempt, event_type, occurred_at)"
            " values (%s, 1, 1, 'SUCCEEDED', runledger._now())",
            [jobs[0]],
        )
    found = {f["invariant"]: f for f in q.rows("fsck")}
    for invariant, number, ids in (("J8", "jobs", "job_ids"), ("K1", "jobs", "job_ids"), ("S1", "jobs", "job_ids"),
                                   ("R2", "replays", "replay_job_ids")):  # fmt: skip
        detail = found[invariant]["detail"]
        assert (detail[number], detail[ids]) == (12, jobs[:10]), invariant
    for invariant in ("K1", "S1", "R2"):
        assert re.findall(UUID_, found[invariant]["repair"]) == jobs[1:], invariant
    events = db.column("select id from runledger.job_events where event_type = 'SUCCEEDED' order by id")
    assert (found["E4"]["detail"]["successes"], found["E4"]["detail"]["event_ids"]) == (12, events[:10])


@pytest.mark.corrupts
def test_a_workflow_run_is_checked_alone(q: Ledger, db: Db):
    mine, other, run = q.dead(), q.dead(), uuid4()
    db.execute("update runledger.job_queue set workflow_run_id = %s where id = %s", [run, mine])
    db.execute("delete from runledger.job_dead_letters")
    db.execute("delete from runledger.job_events where event_type = 'LEASED'")
    db.execute("delete from runledger.job_attempts")
    seen = {(f["invariant"], f["object"]) for f in q.rows("fsck")}
    assert seen == {(i, f"job {j}") for i in ("A3", "A6", "D2", "E1") for j in (mine, other)} | {("W8", f"job {mine}")}
    seen = {(f["invariant"], f["object"]) for f in q.rows("fsck", workflow_run_id=run)}
    assert seen == {(i, f"job {mine}") for i in ("A3", "A6", "D2", "E1", "W8")}


@pytest.mark.parametrize("style, zone", [("SQL, DMY", "Asia/Kolkata"), ("German", "America/Sao_Paulo"), ("Postgres", "Australia/Lord_Howe")])
def test_the_instant_in_a_repair_is_read_alike_by_every_session(db: Db, q: Ledger, style: str, zone: str):
    """Written as that session writes them, a month would be a day elsewhere, and India's time that of Israel."""
    done = q.leased()
    q.succeed(done)
    ended = q.db.attempts(done["job_id"])
    q.conn.execute(f"set datestyle = '{style}'; set timezone = '{zone}'")
    for invariant in ("A2", "A6"):
        db.execute("update runledger.job_attempts set finished_at = null, disposition = null")
        [repair] = [f["repair"] for f in q.rows("fsck") if f["invariant"] == invariant]
        db.execute(repair)
        assert q.db.attempts(done["job_id"]) == ended


def test_the_database_fixture_ends_with_fsck(pg, request: pytest.FixtureRequest):
    """A test that leaves a corrupt ledger fails, unless it is marked."""
    for sound in (True, False):
        fixture = inspect.unwrap(conftest.db)(pg, request)
        db = next(fixture)
        q = Ledger(db)
        q.define()
        q.enqueue()
        if sound:
            assert next(fixture, None) is None
        else:
            db.execute("delete from runledger.job_events")
            with pytest.raises(AssertionError, match="fsck: .*E3"):
                next(fixture)


def test_a_write_between_two_looks_is_not_half_seen(q: Ledger, db: Db):
    """In one REPEATABLE READ snapshot of a reader, a completion by somebody else is seen not at all."""
    lease = q.leased()
    with db.connect(autocommit=False) as reader:
        reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert reader.execute("select status::text from runledger.job_queue").fetchall() == [("LEASED",)]
        q.succeed(lease)
        assert reader.execute("select * from runledger.fsck()").fetchall() == []
    assert q.rows("fsck") == []


@pytest.mark.corrupts
def test_what_became_of_an_old_job_since_history_begins_is_missed(db: Db, q: Ledger, clock: Clock):
    q.leased(lease_seconds=86_400)
    failed = q.leased(lease_seconds=86_400)
    waiting = q.enqueue()
    q.rows("prune", older_than=timedelta(days=365))
    clock.advance(3600)
    db.execute("update runledger.prune_passes set history_begins_at = runledger._now()")
    clock.advance(120)
    q.fail(failed)
    q.hold(waiting)
    db.execute("delete from runledger.job_events")
    missed = {r["object"] for r in q.rows("fsck") if r["invariant"] == "E3"}
    assert missed == {f"job {failed['job_id']}", f"job {waiting}"}


@pytest.mark.corrupts
def test_where_history_begins_what_must_be_told_is_exact(db: Db, q: Ledger, clock: Clock):
    """From the instant on, and of what is older from a minute after it."""
    clock.strike()
    q.rows("prune", older_than=timedelta(days=365))
    begin = clock.now() + timedelta(minutes=10)
    micro = timedelta(microseconds=1)

    def at(instant: datetime) -> None:
        clock.advance(instant - clock.now())

    names = ("leased before", "leased", "changed before", "changed", "went on before", "went on", "told otherwise")
    jobs = {name: q.enqueue() for name in names}

    def hold(name: str, instant: datetime) -> None:
        at(instant)
        leases[name] = q.hold(jobs[name], lease_seconds=3600)

    leases: dict[str, dict[str, Any]] = {}
    hold("leased before", begin - micro)
    jobs["older"] = q.enqueue(priority=1)
    hold("leased", begin)
    jobs["younger"] = q.enqueue(priority=1)
    whole = begin + timedelta(minutes=1)
    hold("changed before", whole - micro)
    db.execute("delete from runledger.job_events")
    hold("changed", whole)
    hold("went on before", whole - micro)
    hold("went on", whole)
    hold("told otherwise", whole - micro)
    clock.advance(120)
    for name in ("went on before", "went on"):
        q.succeed(leases[name])
    db.execute("delete from runledger.job_events where job_id = %s", [jobs["changed"]])
    told = "update runledger.job_events set event_type = %s where event_type = 'LEASED' and job_id = any (%s)"
    db.execute(told, ["CANCELED", [jobs["told otherwise"]]])
    db.execute(told, ["FAILED", [jobs["went on before"], jobs["went on"]]])
    db.execute("update runledger.prune_passes set history_begins_at = %s, orphans_end_at = %s", [begin, whole])
    for nth, instant in enumerate((whole - micro, whole)):
        db.execute(
            "insert into runledger.job_events (job_id, run_number, event_type, occurred_at) values (%s, 1, 'ENQUEUED', %s)",
            [UUID(int=nth), instant],
        )
    for name, instant in (("gone before", whole - timedelta(milliseconds=1)), ("gone", whole)):
        jobs[name] = db.value("select runledger._uuid_floor(%s)", [instant])
        db.execute(
            "insert into runledger.job_events (job_id, run_number, event_type, occurred_at) values (%s, 1, 'REQUEUED', %s)",
            [jobs[name], whole - micro],
        )
    jobs |= {"orphan before": UUID(int=0), "orphan": UUID(int=1)}
    name_of = {f"job {job_id}": name for name, job_id in jobs.items()}
    found = Counter((f["invariant"], name_of[f["object"]]) for f in q.rows("fsck"))
    assert found == {
        ("E1", "went on"): 1, ("E1", "gone"): 1,
        ("E3", "younger"): 1, ("E3", "changed"): 1, ("E3", "told otherwise"): 1,
        ("E5", "leased"): 1, ("E5", "changed before"): 1, ("E5", "changed"): 1,
        ("E5", "went on before"): 1, ("E5", "went on"): 1, ("E5", "told otherwise"): 1,
        ("E6", "orphan"): 1,
    }  # fmt: skip
