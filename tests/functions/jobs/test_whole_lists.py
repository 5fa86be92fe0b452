"""Every list over jobs against a scene with something of each kind: each filter alone, each two together, each edge,
each page, and every column. What a list ought to say is worked out from the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, product
from typing import Any
from uuid import UUID

import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger

Row = dict[str, Any]
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True)
class Filter:
    """Parameters that go together, the values to try, and which rows they leave."""

    values: list[Row]
    keeps: Callable[[Row, Row], bool]


def by(name: str, column: str, values: list[Any]) -> Filter:
    return Filter([{name: v} for v in values], lambda row, given: row[column] == given[name])


def contains(values: list[str]) -> Filter:
    def keeps(row: Row, given: Row) -> bool:
        return given["contains"].lower() in row["job_type"].lower()

    return Filter([{"contains": v} for v in values], keeps)


def check(q: Ledger, name: str, every: list[Row], filters: list[Filter], but: str = "", **always: Any) -> None:
    """`every` is what the list says without a filter, in order; `but` for that column."""

    def listed(**given: Any) -> list[Row]:
        return [{k: v for k, v in r.items() if k != but} for r in q.rows(name, **always, **given)]

    assert listed() == every
    for size in (1, 2):
        for chosen in combinations(filters, size):
            for values in product(*(f.values for f in chosen)):
                given = {k: v for value in values for k, v in value.items()}
                want = [r for r in every if all(f.keeps(r, given) for f in chosen)]
                assert listed(**given) == want, given
                if len(want) > 1:
                    assert listed(**given, max_rows=len(want) - 1) == want[:-1], given


def instants(rows: list[Row], column: str) -> list[datetime]:
    """Those of some rows, and what lies a microsecond beside one."""
    some = sorted({r[column] for r in rows})
    return [some[0], some[-1], some[len(some) // 2], some[len(some) // 2] + INSTANT, some[len(some) // 2] - INSTANT]


@pytest.fixture
def scene(q: Ledger, clock: Clock) -> list[UUID]:
    """Jobs of every state, of two tenants and none, several at one instant."""
    clock.stop()
    for job_type in ("mail.send", "Mail.Digest", "sms"):
        q.define(job_type)
    for nth, tenant in enumerate((TENANT, OTHER_TENANT, None, TENANT)):
        # What is to be leased goes before what waits since the last round.
        of = {"organization_id": tenant, "max_attempts": 2, "payload": nth, "priority": 100 + nth}
        worker = f"w{nth % 2}"
        with q.conn.transaction():
            dead = [q.leased("mail.send", worker, **of) for _ in range(2)]
            q.finish(*({**x, "outcome": "FAILED", "kind": "TERMINAL", "error_code": f"e.{nth % 3}"} for x in dead))
        again = q.leased("Mail.Digest", worker, **of)
        q.fail(again, kind="TERMINAL")
        q.row("requeue_job", job_id=again["job_id"])
        retried = q.leased("sms", worker, **of)
        q.fail(retried)
        clock.advance(1)
        done, canceled = q.leased("sms", worker, **of), q.leased("mail.send", worker, **of)
        q.succeed(done, done=3, total=4)
        q.row("cancel_job", job_id=canceled["job_id"])
        held = q.leased("sms", worker, lease_seconds=600, **of)
        q.row("report_progress", **held, done=1, total=4, stage="half")
        q.leased("mail.send", worker, lease_seconds=5, prestart=True, timeout_seconds=1, **of)
        for priority, late in ((7, 0), (7, 0), (0, 50), (-3, 0), (-3, 90)):
            q.enqueue("sms", **{**of, "priority": priority}, run_at=clock.now() + timedelta(seconds=late))
        clock.advance(30)
    return q.db.column("select id from runledger.job_queue order by id desc")


def summaries(db: Db) -> dict[UUID, Row]:
    """What each job is told to be, but for its state, which is that of the real instant."""
    return {r["job_id"]: r for r in db.all("""
        select q.id as job_id, q.job_type, q.organization_id, q.status::text, q.priority, q.run_number, q.attempt,
               q.max_attempts, q.next_run_at, q.worker_id, q.lease_expires_at, q.started_at, q.finished_at, q.stage,
               q.progress_done, q.progress_total, q.progress_pct, q.status_reason, q.last_error_code, q.workflow_run_id,
               q.created_at, q.updated_at
          from runledger.job_queue as q""")}  # fmt: skip


def test_jobs(db: Db, q: Ledger, scene: list[UUID]):
    stored = summaries(db)
    every = [stored[job_id] for job_id in scene]
    middle = scene[len(scene) // 2]
    check(q, "list_jobs", every, [
        by("job_type", "job_type", ["sms", "mail.send", "mail", "nothing"]),
        by("status", "status", ["PENDING", "LEASED", "SUCCEEDED", "DEAD_LETTERED", "CANCELED"]),
        by("organization_id", "organization_id", [TENANT, OTHER_TENANT, NOBODY]),
        by("worker_id", "worker_id", ["w0", "w1", "w2"]),
        contains(["MAIL", "s", "x"]),
        Filter([{"created_after": at} for at in instants(every, "created_at")], lambda r, g: r["created_at"] > g["created_after"]),
        Filter([{"created_before": at} for at in instants(every, "created_at")], lambda r, g: r["created_at"] < g["created_before"]),
        Filter([{"before_id": j} for j in (scene[0], middle, scene[-1])], lambda r, g: r["job_id"] < g["before_id"]),
    ], but="state")  # fmt: skip
    for job_id in scene:
        told = q.row("get_job", job_id=job_id)
        assert {k: told[k] for k in stored[job_id]} == stored[job_id]
    states = q.rows("job_statuses", job_ids=scene)
    assert states == [{k: stored[j][k] for k in states[0]} for j in sorted(scene)]
    for tenant in (TENANT, OTHER_TENANT):
        own = [j for j in sorted(scene) if stored[j]["organization_id"] == tenant]
        assert [r["job_id"] for r in q.rows("job_statuses", job_ids=scene, organization_id=tenant)] == own


def test_dead_letters(db: Db, q: Ledger, scene: list[UUID]):
    every = db.all("""
        select d.job_id, d.job_type, d.organization_id, d.run_number, d.attempt, d.error_code, d.error_message, d.failed_at,
               q.status::text, q.status = 'DEAD_LETTERED' and q.run_number = d.run_number as is_dead
          from runledger.job_dead_letters as d join runledger.job_queue as q on q.id = d.job_id
         order by d.failed_at desc, d.job_id desc""")
    assert {r["is_dead"] for r in every} == {True, False}
    at = instants(every, "failed_at")
    check(q, "list_dead_letters", every, [
        by("job_type", "job_type", ["mail.send", "Mail.Digest", "mail"]),
        by("error_code", "error_code", ["e.0", "e.1", "e.x", "e"]),
        by("organization_id", "organization_id", [TENANT, OTHER_TENANT, NOBODY]),
        by("is_dead", "is_dead", [True, False]),
        Filter([{"failed_after": x} for x in at], lambda r, g: r["failed_at"] >= g["failed_after"]),
        Filter([{"failed_before": x} for x in at], lambda r, g: r["failed_at"] < g["failed_before"]),
        Filter(
            [{"before_failed_at": r["failed_at"], "before_id": r["job_id"]} for r in every[::3]],
            lambda r, g: (r["failed_at"], r["job_id"]) < (g["before_failed_at"], g["before_id"]),
        ),
    ])  # fmt: skip


def test_running_jobs(db: Db, q: Ledger, clock: Clock, scene: list[UUID]):
    now = clock.now()
    # At the very end of its time a handler is not over time, and a lease is lost.
    for seconds, lease_seconds in ((40, 90), (20, 30), (20, 20)):
        lease = q.leased("sms", "w0", lease_seconds, timeout_seconds=30, organization_id=TENANT, priority=999)
        db.execute("update runledger.job_attempts set started_at = %s, leased_at = %s where job_id = %s",
                   [now - timedelta(seconds=seconds - 10), now - timedelta(seconds=seconds), lease["job_id"]])  # fmt: skip
    db.execute("update public.test_clock set stopped = %s", [now])
    every = db.all("""
        select q.id as job_id, q.job_type, q.organization_id, q.status::text, null as state, a.worker_id,
               a.leased_at as claimed_at, a.started_at, q.last_heartbeat_at, q.lease_expires_at, q.run_number, q.attempt,
               q.max_attempts, q.timeout_seconds, q.stage, q.progress_done, q.progress_total, q.progress_pct, q.workflow_run_id
          from runledger.job_queue as q join runledger.job_attempts as a
            on a.job_id = q.id and (a.run_number, a.attempt) = (q.run_number, q.attempt)
         where q.lease_token is not null order by a.leased_at, q.id""")
    for at in (now, now + INSTANT, now + timedelta(seconds=20), now + timedelta(seconds=20) - INSTANT):
        db.execute("update public.test_clock set stopped = %s", [at])
        for r in every:
            began, ends = r["started_at"], r["lease_expires_at"]
            r["state"] = (
                ("stopping" if ends > at else "canceled") if r["status"] == "CANCELED"
                else "lost" if ends <= at
                else "claimed" if began is None
                else "over time" if began + timedelta(seconds=r["timeout_seconds"]) < at
                else "running"
            )  # fmt: skip
        assert q.rows("list_running_jobs") == every
    assert {r["state"] for r in every} >= {"canceled", "lost", "running"}
    places = [{"after_claimed_at": r["claimed_at"], "after_id": r["job_id"]} for r in every]
    check(q, "list_running_jobs", every, [
        by("job_type", "job_type", ["mail.send", "sms", "mail"]),
        by("organization_id", "organization_id", [TENANT, OTHER_TENANT, NOBODY]),
        contains(["MAIL", "s", "x"]),
        Filter(places, lambda r, g: (r["claimed_at"], r["job_id"]) > (g["after_claimed_at"], g["after_id"])),
    ])  # fmt: skip


def test_waiting_jobs(db: Db, q: Ledger, scene: list[UUID]):
    stored = summaries(db)
    order = db.column(
        "select id from runledger.job_queue where status = 'PENDING' and job_type = 'sms'"
        " order by priority desc, next_run_at, id"
    )
    every = [stored[j] for j in order]
    assert len({r["priority"] for r in every}) > 3

    def place(r: Row) -> tuple[Any, ...]:
        return -r["priority"], r["next_run_at"], r["job_id"]

    names = ("priority", "next_run_at", "job_id")
    places = [dict(zip(("after_priority", "after_next_run_at", "after_id"), (r[n] for n in names), strict=True)) for r in every]
    check(q, "list_waiting_jobs", every, [
        by("organization_id", "organization_id", [TENANT, OTHER_TENANT, NOBODY]),
        Filter(places, lambda r, g: place(r) > (-g["after_priority"], g["after_next_run_at"], g["after_id"])),
    ], but="state", job_type="sms")  # fmt: skip
    for n in range(1, len(every)):
        assert [r["job_id"] for r in q.rows("list_waiting_jobs", job_type="sms", max_rows=n)] == order[:n]


def queues(db: Db, now: datetime) -> list[Row]:
    """What list_queues says of every type, counted one by one."""
    jobs, events = db.all("select * from runledger.job_queue"), db.all("select * from runledger.job_events")
    letters = {(d["job_id"], d["run_number"]) for d in db.all("select * from runledger.job_dead_letters")}
    type_of = {j["id"]: j["job_type"] for j in jobs}
    rows = []
    for d in db.all("select * from runledger.job_definitions order by job_type"):
        own = [j for j in jobs if j["job_type"] == d["job_type"]]
        due = [j["next_run_at"] for j in own if j["status"] == "PENDING"]
        told = [e["event_type"] for e in events if type_of[e["job_id"]] == d["job_type"]]
        workers = db.value(
            "select count(*) from runledger.workers where %s = any (job_types) and last_seen_at > %s", [d["job_type"], now - timedelta(minutes=3)]
        )
        ready = [at for at in due if at <= now]
        rows.append({
            **{k: d[k] for k in ("job_type", "is_enabled", "disabled_reason", "is_paused", "paused_reason", "max_concurrency")}, "workers": workers,
            "ready": len(ready), "delayed": len(due) - len(ready), "counted_to": 10_000, "oldest_ready_at": min(ready, default=None),
            "running": sum(j["lease_token"] is not None for j in own), "lost": sum(j["lease_token"] is not None and j["lease_expires_at"] <= now for j in own),
            "dead": sum(j["status"] == "DEAD_LETTERED" and (j["id"], j["run_number"]) in letters for j in own),
            "finished": sum(t in ("SUCCEEDED", "DEAD_LETTERED") for t in told), "failed": told.count("FAILED"),
        })  # fmt: skip
    return rows


def test_queues(db: Db, q: Ledger, clock: Clock, scene: list[UUID]):
    began = clock.now()
    q.define("t", max_concurrency=7)
    q.row("pause_job_type", job_type="sms", reason="deploy")
    q.row("disable_job_type", job_type="Mail.Digest", reason="old")
    for n, seen in enumerate((0, 60, 180, 181)):
        q.row("register_worker", worker_id=f"w{n}", job_types=["sms", "t"][: 1 + n % 2])
        db.execute("update runledger.workers set last_seen_at = %s where worker_id = %s", [clock.now() - timedelta(seconds=seen), f"w{n}"])
    db.execute("update runledger.workers set last_seen_at = last_seen_at + interval '1 us' where worker_id = 'w3'")
    for at in (clock.now(), clock.now() - INSTANT, clock.now() - timedelta(seconds=1)):
        db.execute("update public.test_clock set stopped = %s", [at])
        assert q.rows("list_queues") == queues(db, at)
    instants = db.column("select next_run_at from runledger.job_queue where status = 'PENDING' union select lease_expires_at from runledger.job_queue where lease_token is not null")
    for at in [x + d for x in instants for d in (timedelta(0), -INSTANT)]:
        db.execute("update public.test_clock set stopped = %s", [at])
        assert q.rows("list_queues") == queues(db, at)
    every = queues(db, at)
    check(q, "list_queues", every, [
        contains(["MAIL", "s", "x"]), Filter([{"after_type": t} for t in ("", "mail.send", "sms", "t")], lambda r, g: r["job_type"] > g["after_type"]),
    ])  # fmt: skip
    # Counted alike once upkeep has rolled part of it up.
    db.execute("update public.test_clock set stopped = %s", [began])
    q.row("resume_job_type", job_type="sms")
    for n, kind in enumerate(("TIMEOUT", "PANICKED", "TERMINAL", "RETRYABLE")):
        for _ in range(n + 1):
            q.fail(q.leased("sms", priority=9999), kind=kind)
    q.leased("sms", lease_seconds=1, priority=9999)
    clock.advance(2)
    q.reap(retry_delay="1 hour")
    counted = 0
    while not counted:
        counted = sum(r["affected"] for r in q.rows("run_maintenance") if r["task"] == "rollup")
    q.fail(q.leased("sms", priority=9999), kind="TIMEOUT")
    assert q.rows("list_queues") == queues(db, clock.now())


def test_definitions_and_configs(db: Db, q: Ledger, clock: Clock, scene: list[UUID]):
    for n, job_type in enumerate(("sms", "mail.send", "t")):
        q.row("set_runtime_config", job_type=job_type, config={"a": "x" * n}, schema_version=n + 1)
        clock.advance(1)
    q.row("pause_job_type", job_type="sms", reason="deploy")
    q.row("disable_job_type", job_type="Mail.Digest", reason="old")
    q.define("t", version=2, max_attempts=3, timeout_seconds=4, priority=5, max_concurrency=6, retry_base_ms=7, retry_max_ms=8, retry_delays_ms={"e": 9})
    definitions = db.all("""
        select job_type, version, max_attempts, default_timeout_seconds as timeout_seconds, default_priority as priority, is_enabled, disabled_reason,
               is_paused, paused_reason, max_concurrency, retry_base_ms, retry_max_ms, retry_delays_ms, created_at, updated_at
          from runledger.job_definitions order by job_type""")
    configs = db.all("""
        select job_type, schema_version, runledger._json_bytes(config)::integer as config_bytes, updated_by, created_at, updated_at
          from runledger.job_runtime_configs order by job_type""")
    for name, every in (("list_job_definitions", definitions), ("list_runtime_configs", configs)):
        check(q, name, every, [
            contains(["MAIL", "s", "x"]),
            Filter([{"after_type": t} for t in ("", "mail.send", "sms", "t")], lambda r, g: r["job_type"] > g["after_type"]),
        ])  # fmt: skip
    for row in definitions:
        assert q.row("get_job_definition", job_type=row["job_type"]) == row


def test_leases_of_a_worker(db: Db, q: Ledger, clock: Clock, scene: list[UUID]):
    every = {
        worker: q.rows("leased_jobs", worker_id=worker) for worker in ("w0", "w1", "w2")
    }
    for worker, rows in every.items():
        stored = db.all(
            "select * from runledger.job_queue where status = 'LEASED' and worker_id = %s and lease_expires_at > %s"
            " order by lease_token", [worker, clock.now()],
        )  # fmt: skip
        assert [r["job_id"] for r in rows] == [r["id"] for r in stored]
        for row, job in zip(rows, stored, strict=True):
            assert {k: v for k, v in row.items() if k in job} == {k: job[k] for k in row if k in job}
            assert (row["step_key"], row["inputs"], row["inputs_omitted"]) == (None, None, False)
        tokens = [r["lease_token"] for r in rows]
        for known in combinations(tokens, 1):
            left = [r for r in rows if r["lease_token"] not in known]
            assert q.rows("leased_jobs", worker_id=worker, known_tokens=list(known)) == left
    assert [len(rows) for rows in every.values()] == [2, 2, 0]
    ends = every["w0"][0]["lease_expires_at"]
    for at, left in ((ends - INSTANT, 1), (ends, 0)):
        db.execute("update public.test_clock set stopped = %s", [at])
        assert (every["w0"][0] in q.rows("leased_jobs", worker_id="w0")) is bool(left)


def test_the_state_in_one_word(db: Db):
    """Microseconds from now: at its very end a lease is lost, and at its very instant a job is ready."""
    for status, lease, due, attempt, state in (
        ("SUCCEEDED", None, -1, 1, "done"), ("DEAD_LETTERED", None, -1, 1, "dead"),
        ("LEASED", 1, -1, 1, "running"), ("LEASED", 0, -1, 1, "lost"), ("LEASED", -1, 9, 1, "lost"),
        ("CANCELED", None, -1, 0, "canceled"), ("CANCELED", 0, -1, 1, "canceled"), ("CANCELED", 1, -1, 1, "stopping"),
        ("PENDING", None, -1, 0, "ready"), ("PENDING", None, 0, 1, "ready"),
        ("PENDING", None, 1, 0, "delayed"), ("PENDING", None, 1, 1, "retrying"), ("PENDING", None, 1, 2, "retrying"),
    ):  # fmt: skip
        got = db.value(
            "select runledger._job_state(%s::runledger.job_status, at + %s * interval '1 us', at + %s * interval '1 us', %s, at)"
            " from (select now() as at) as x",
            [status, lease, due, attempt],
        )
        assert got == state, (status, lease, due, attempt)


def test_what_is_told_of_one_job(db: Db, q: Ledger, clock: Clock):
    job_id = q.enqueue(organization_id=TENANT, max_attempts=3)
    clock.stop()
    for n in range(3):
        lease = q.hold(job_id)
        q.row("report_progress", **lease, done=n, total=9, stage=f"s{n}")
        q.row("log_job", **lease, level="info", message=f"line {n}", payload={"n": n} if n else None)
        q.row("log_job", **lease, level="warn", message="again")
        if n == 1:
            q.row("continue_job", **lease)
        elif n == 0:
            q.fail(lease, not_before=clock.now())
        clock.advance(100)
    stored = {
        "list_job_attempts": ("(run_number, attempt)", """
            select job_id, run_number, attempt, worker_id, claim_origin, leased_at, started_at, finished_at, disposition,
                   outcome::text, error_code, error_message, retry_delay_ms, requested_retry_not_before,
                   effective_next_run_at, retry_timing_source, role_name
              from runledger.job_attempts where job_id = %s order by run_number, attempt"""),
        "list_job_logs": ("log_id", """
            select id as log_id, job_id, run_number, attempt, level, message, payload <> '{}' as has_payload, occurred_at
              from runledger.job_logs where job_id = %s order by id"""),
        "list_job_events": ("event_id", """
            select id as event_id, job_id, run_number, attempt, event_type::text, stage, progress_done, progress_total,
                   payload as detail, occurred_at
              from runledger.job_events where job_id = %s order by id"""),
    }  # fmt: skip
    for name, (_, query) in stored.items():
        every = db.all(query, [job_id])
        assert q.rows(name, job_id=job_id) == every
        if name == "list_job_attempts":
            key = lambda r: (r["run_number"], r["attempt"])  # noqa: E731
            asked: list[tuple[Row, Row]] = [
                ({"after_run": r, "after_attempt": a}, {"before_run": r, "before_attempt": a})
                for r in range(4) for a in range(4)
            ]  # fmt: skip
            place = lambda g: tuple(g.values())  # noqa: E731
        else:
            column = "log_id" if name == "list_job_logs" else "event_id"
            after, before = ("after_log_id", "before_log_id") if column == "log_id" else ("after_event_id", "before_event_id")
            key = lambda r, column=column: r[column]  # noqa: E731
            asked = [({after: r[column] + d}, {before: r[column] + d}) for r in every for d in (-1, 0, 1)]
            place = lambda g: next(iter(g.values()))  # noqa: E731
        for forward, back in asked:
            late = [r for r in every if key(r) > place(forward)]
            early = [r for r in every if key(r) < place(back)][::-1]
            assert q.rows(name, job_id=job_id, **forward) == late, forward
            assert q.rows(name, job_id=job_id, **back) == early, back
            for want, given in ((late, forward), (early, back)):
                if len(want) > 1:
                    assert q.rows(name, job_id=job_id, **given, max_rows=len(want) - 1) == want[:-1]
