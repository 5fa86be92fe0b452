"""health: a row for each check, always; each thing that goes wrong is named, and the printed fix mends it.

What it says in each case stands in told/test_health.txt, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

import runledger.migrate as m
from runledger import Client
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flows, gate, step
from tests.support.ledger import Ledger
from tests.support.servers import ROOT
from tests.support.told import checked, telling

CHANCY = ("schema.drift", "upkeep.maintenance", "upkeep.partitions", "upkeep.retention", "server.dead_rows",
          "server.horizon", "server.notify", "server.snapshot")  # fmt: skip
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def checks(q: Ledger) -> dict[str, dict[str, Any]]:
    return {row["code"]: row for row in q.rows("health")}


@pytest.fixture(autouse=True)
def told(request: pytest.FixtureRequest, db: Db) -> Iterator[None]:
    """Every answer is held against told/test_health.txt; a clock stands still, so that it can be."""
    clock = request.getfixturevalue("clock") if "clock" in request.fixturenames else None
    if clock:
        clock.strike()
    with telling(request, clock=clock) as db.told:
        yield


def check(q: Ledger, code: str, level: str) -> dict[str, Any]:
    """That check, which must be of that level, word for word as it is written down; what is well needs no fix."""
    rows = checks(q)
    found = rows[code]
    assert found["level"] == level, found
    assert (found["fix"] is None) == (level == "OK")
    # The clock of a test is a function changed by hand, the template may be of yesterday, and the server belongs to
    # other tests, too.
    besides = [f"{r['level']} {c}" for c, r in rows.items() if r["level"] != "OK" and c != code and c not in CHANCY]
    assert q.db.told
    if level != "OK" or code not in CHANCY or not code.startswith("server."):
        q.db.told.hear(*checked(found, exact=q.db.told.is_exact), "besides: " * bool(besides) + ", ".join(besides))
    return found


def mend(q: Ledger, found: dict[str, Any]) -> None:
    """Run the fix as it is printed, as the owner, and see that it was one."""
    q.conn.execute(found["fix"].encode())
    check(q, found["code"], "OK")


@contextmanager
def bound(db: Db, code: str, warn: float | None, crit: float | None = None):
    """Another bound for a check whose own takes too long to reach."""
    source = db.value("select prosrc from pg_proc where oid = 'runledger._health_bounds()'::regprocedure")
    pattern = rf"\('{re.escape(code)}', [^,]+, [^,]+,"
    changed, n = re.subn(pattern, f"('{code}', {warn or 'null'}, {crit or 'null'}::numeric,", source)
    assert n == 1

    def put(text: str) -> None:
        db.execute(
            "create or replace function runledger._health_bounds() returns table"
            " (code text, warn numeric, crit numeric, unit text, fine text) language sql immutable parallel safe"
            f" as $body${text}$body$"
        )

    put(changed)
    yield
    put(source)


def seen(q: Ledger, *types: str) -> None:
    q.row("register_worker", worker_id="w1", job_types=list(types or ["t"]))


# --- all is well -----------------------------------------------------------------------------------


def test_a_sound_system_is_well_and_every_check_says_so(q: Ledger, db: Db):
    seen(q)
    q.succeed(q.leased())
    q.enqueue()
    q.rows("run_maintenance")
    found = q.rows("health")
    assert {row["level"] for row in found} == {"OK"}, [r for r in found if r["level"] != "OK"]
    assert [row["code"] for row in found] == db.column("select code from runledger._health_bounds()")
    assert {row["explanation"] for row in found} == set(db.column("select fine from runledger._health_bounds()"))
    assert {row["fix"] for row in found} == {None}
    assert all({"warn", "crit"} <= row["detail"].keys() for row in found)
    assert db.told
    for row in found:
        if row["code"] not in CHANCY or row["code"].startswith("schema."):
            db.told.hear(*checked(row, exact=False))


def test_the_worst_comes_first(q: Ledger, db: Db):
    q.leased()
    seen(q)
    q.rows("run_maintenance")
    db.execute("alter sequence runledger.lease_token_seq restart")
    db.execute("alter table runledger.workers set (autovacuum_enabled = off)")
    levels = [(row["code"], row["level"]) for row in q.rows("health")]
    assert levels[:2] == [("upkeep.tokens", "CRIT"), ("server.autovacuum", "WARN")]
    assert {level for _, level in levels[2:]} == {"OK"}
    db.execute("select setval('runledger.lease_token_seq', 100)")


def test_the_client_tells_it_typed(q: Ledger, db: Db):
    q.rows("run_maintenance")
    db.execute("alter table runledger.workers set (autovacuum_enabled = off)")
    with Client.connect(db.dsn) as client:
        first = client.health()[0]
    assert (first.code, first.level, first.value, first.unit) == ("server.autovacuum", "WARN", Decimal(1), "settings")
    assert first.fix == "alter table runledger.workers reset (autovacuum_enabled);"


def test_the_readme_tells_each_check_with_its_bounds(db: Db):
    told = re.findall(
        r"^\| `([a-z]+\.[a-z_]+)` \| ([^|]*) \| ([^|]*) \| ", (ROOT / "sql/README.md").read_text(), re.MULTILINE
    )
    bounds = db.all("select code, warn::text, crit::text, unit from runledger._health_bounds()")

    def number(text: str) -> str:
        return text.strip().replace(",", "").split(" ")[0]

    assert [(code, number(warn), number(crit)) for code, warn, crit in told] == [
        (b["code"], b["warn"], b["crit"] or "-") for b in bounds
    ]


def test_it_writes_nothing_and_works_in_a_read_only_transaction(q: Ledger):
    q.conn.execute("set default_transaction_read_only = on")
    assert len(q.rows("health")) > 20


# --- queue -----------------------------------------------------------------------------------------


def test_ready_jobs_that_wait_long(q: Ledger, clock: Clock):
    for job_type in ("busy", "other", "paused"):
        q.define(job_type)
    first = q.enqueue("busy", priority=7)
    q.enqueue("paused")
    q.row("pause_job_type", job_type="paused", reason="deploy")
    q.enqueue("t", run_at=clock.now() + 5 * HOUR)
    clock.advance(299)
    seen(q, "busy", "other", "t")
    check(q, "queue.ready_age", "OK")
    q.enqueue("other")
    q.enqueue("busy", priority=900)
    clock.advance(2)
    found = check(q, "queue.ready_age", "WARN")
    assert found["value"] > 300
    assert "type busy have been ready for 5 min" in found["explanation"]
    assert [t["job_type"] for t in found["detail"]["worst"]] == ["busy", "other"]
    clock.advance(HOUR)
    check(q, "queue.ready_age", "CRIT")
    for lease in q.claim(2, "busy"):
        q.succeed({k: lease[k] for k in ("job_id", "lease_token")})
    assert q.job(first)["status"] == "SUCCEEDED"
    assert check(q, "queue.ready_age", "CRIT")["detail"]["worst"][0]["job_type"] == "other"


def test_the_lowest_of_many_priorities_is_looked_at(q: Ledger, clock: Clock):
    q.enqueue(priority=-50)
    clock.advance(400)
    for priority in range(30):
        q.enqueue(priority=priority)
    assert check(q, "queue.ready_age", "WARN")["value"] >= 400


def test_of_many_priorities_the_highest_eight_and_the_lowest_are_looked_at(q: Ledger, clock: Clock):
    """Of each of them what is due first; one in between is found with the next claim, and not before."""
    for first in (19, 18, 12, 11, 1, 0):
        q.define(f"p{first}")
        q.enqueue(f"p{first}", priority=first)
    clock.advance(100)
    for first in (19, 18, 12, 11, 1, 0):
        for priority in range(20):
            q.enqueue(f"p{first}", priority=priority, run_at=clock.now() - timedelta(seconds=priority))
    clock.advance(300)
    check(q, "queue.ready_age", "WARN")


def test_ready_jobs_that_nobody_handles(q: Ledger, clock: Clock):
    clock.stop()
    q.enqueue()
    seen(q, "something else")
    check(q, "queue.no_worker", "OK")
    clock.advance(61)
    found = check(q, "queue.no_worker", "WARN")
    assert "No live worker handles type t, which has had ready jobs for 61" in found["explanation"]
    seen(q, "t")
    check(q, "queue.no_worker", "OK")
    clock.advance(600)
    check(q, "queue.no_worker", "CRIT")
    seen(q, "t")
    check(q, "queue.no_worker", "OK")


def test_a_worker_that_only_claims_is_a_worker(q: Ledger, clock: Clock):
    q.leased(lease_seconds=3600)
    q.enqueue()
    clock.advance(61)
    check(q, "queue.no_worker", "OK")


def test_ready_jobs_of_a_paused_type(q: Ledger, clock: Clock):
    q.row("pause_job_type", job_type="t", reason="deploy")
    check(q, "queue.paused", "OK")
    q.enqueue()
    found = check(q, "queue.paused", "WARN")
    assert found["detail"]["worst"][0]["paused_by"] == q.conn.info.user
    clock.advance(DAY + HOUR)
    check(q, "queue.paused", "CRIT")
    mend(q, found)
    check(q, "queue.ready_age", "CRIT")


# --- leases and workers ----------------------------------------------------------------------------


def test_expired_leases(q: Ledger, clock: Clock):
    lease = q.leased(lease_seconds=60)
    stopping = q.leased(lease_seconds=60)
    q.row("cancel_job", job_id=stopping["job_id"])
    clock.advance(100)
    check(q, "lease.expired", "OK")
    clock.advance(30)
    found = check(q, "lease.expired", "WARN")
    assert found["detail"]["leases"] == 2
    assert found["value"] >= 70
    mend(q, found)
    assert q.job(lease["job_id"])["status"] == "PENDING"


def test_jobs_beyond_their_timeout(q: Ledger, clock: Clock):
    clock.stop()
    retried = q.leased(timeout_seconds=60, lease_seconds=7200)
    q.fail(retried)
    clock.advance(2 * HOUR)
    assert q.ids(1, lease_seconds=7200) == [retried["job_id"]]
    check(q, "lease.overrun", "OK")  # the run began long ago, the attempt just now
    late = q.leased(timeout_seconds=60, lease_seconds=7200)
    clock.advance(119)
    q.beat(late, lease_seconds=7200)
    check(q, "lease.overrun", "OK")
    clock.advance(3)
    found = check(q, "lease.overrun", "WARN")
    assert found["detail"]["jobs"] == 2
    assert {j["job_id"] for j in found["detail"]["worst"]} == {str(late["job_id"]), str(retried["job_id"])}
    clock.advance(HOUR)
    check(q, "lease.overrun", "CRIT")
    q.conn.execute(found["fix"])
    mend(q, check(q, "lease.overrun", "CRIT"))
    assert {q.job(x["job_id"])["status"] for x in (late, retried)} == {"CANCELED"}


def test_workers_that_went_without_a_word(q: Ledger, db: Db, clock: Clock):
    q.row("register_worker", worker_id="it's gone", job_types=["t"])
    q.leased(worker="here", lease_seconds=3600)
    q.row("register_worker", worker_id="here", job_types=["t"])
    clock.advance(181)
    found = check(q, "worker.silent", "WARN")
    assert (found["value"], found["detail"]["workers"]) == (1, ["it's gone"])
    mend(q, found)
    assert db.column("select worker_id from runledger.workers") == ["here"]


def test_workers_that_hold_leases_and_are_silent(q: Ledger, clock: Clock):
    lease = q.leased(worker="o'brien", lease_seconds=600)
    by_hand = q.leased(worker="psql", lease_seconds=7200)
    clock.advance(399)
    check(q, "worker.silent_holder", "OK")
    clock.advance(2)
    found = check(q, "worker.silent_holder", "WARN")
    assert (found["value"], found["detail"]["workers"], found["detail"]["leases"]) == (1, ["o'brien"], 1)
    assert [r[0] for r in q.conn.execute(found["fix"].encode()).fetchall()] == [lease["job_id"]]
    q.beat(lease, lease_seconds=600)
    check(q, "worker.silent_holder", "OK")
    clock.advance(601)
    check(q, "worker.silent_holder", "OK")
    check(q, "lease.expired", "OK")
    q.reap()
    assert q.job(by_hand["job_id"])["status"] == "LEASED"


def test_a_canceled_job_is_no_longer_held_by_its_worker(q: Ledger, clock: Clock):
    stopping = q.leased(worker="gone", lease_seconds=600, timeout_seconds=60)
    q.row("cancel_job", job_id=stopping["job_id"])
    q.leased(worker="dead", lease_seconds=60)
    clock.advance(500)
    check(q, "worker.silent_holder", "OK")
    check(q, "lease.overrun", "OK")
    q.define("u")
    q.enqueue("t", priority=7)
    check(q, "queue.no_worker", "OK")
    clock.advance(60)
    # Neither a canceled job nor a lease that ended shows that somebody takes jobs of the type.
    check(q, "queue.no_worker", "WARN")


def test_many_workers_are_told_worst_first_and_ten_of_them(q: Ledger, db: Db, clock: Clock):
    for n in (*range(12, 0, -1),):
        q.row("register_worker", worker_id=f"gone{n:02}", job_types=["t"])
        q.leased(worker=f"held{n:02}", lease_seconds=3600)
        clock.advance(1)
    clock.advance(1800)
    check(q, "worker.silent", "WARN")
    check(q, "worker.silent_holder", "OK")
    clock.advance(1200)
    check(q, "worker.silent_holder", "WARN")
    db.execute(
        "insert into runledger.workers (worker_id, job_types, max_jobs, role_name, registered_at, last_seen_at)"
        " select 'w' || n, '{t}', 1, 'r', runledger._now(), runledger._now() - interval '1 hour'"
        " from generate_series(1, 1500) as n"
    )
    assert checks(q)["worker.silent"]["value"] == 1000


def test_jobs_over_their_time_are_told_worst_first_and_ten_of_them(q: Ledger, clock: Clock):
    for n in range(12):
        q.leased(worker=f"w{n}", timeout_seconds=60 if n % 2 else 30, lease_seconds=7200)
        clock.advance(1)
    clock.advance(600)
    check(q, "lease.overrun", "WARN")


def test_types_are_told_worst_first_and_ten_of_them(q: Ledger, clock: Clock):
    for n in range(12):
        q.define(f"t{n % 7}{n}", max_concurrency=n or None)
        q.define(f"paused{n}")
        q.row("pause_job_type", job_type=f"paused{n}")
        q.enqueue(f"t{n % 7}{n}")
        q.enqueue(f"paused{n}")
        clock.advance(n % 3)
    q.enqueue(run_at=clock.now() + HOUR)
    q.define("gone")
    q.enqueue("gone")
    q.db.execute("delete from runledger.job_definitions where job_type = 'gone'")
    clock.advance(700)
    seen(q, "t11", "t00")
    for code, level in (("queue.ready_age", "WARN"), ("queue.no_worker", "CRIT"), ("queue.paused", "WARN")):
        check(q, code, level)
    q.define("gone")


# --- up to the instant -----------------------------------------------------------------------------


def test_each_look_at_the_clock_is_exact(q: Ledger, clock: Clock):
    """A lease ends with its instant, silence and lateness begin after theirs."""
    clock.noon()
    flow = Flows(q)(gate("g", timeout_seconds=240, on_timeout="SUCCEEDED"))
    q.row("upsert_schedule", name="once", job_type="t", cron="4 12 * * *")
    q.row("register_worker", worker_id="idle", job_types=["x"])
    q.leased(worker="holder", lease_seconds=240, timeout_seconds=240)
    q.leased(worker="slow", lease_seconds=300, timeout_seconds=600)
    lease = q.leased(worker="beats", lease_seconds=240, timeout_seconds=240)
    q.define("u")
    q.enqueue("u", run_at=clock.now() + 4 * MINUTE)
    assert told_at(q, clock, 179.999_999) == set()
    seen(q, "u")
    assert told_at(q, clock, 0.000_001) == set()
    assert told_at(q, clock, 0.000_001) == {"silent: idle", "silent holder: holder", "silent holder: beats"}
    q.beat(lease, lease_seconds=240)
    # Three minutes, or two thirds of a lease that is longer.
    assert told_at(q, clock, 19.999_999) == {"silent: idle", "silent holder: holder"}
    assert told_at(q, clock, 0.000_001) == {"silent: idle", "silent holder: holder", "silent holder: slow"}
    assert told_at(q, clock, 39.999_998) == {"silent: idle", "silent holder: holder", "silent holder: slow"}
    # At the fourth minute the lease of the holder ends, a job is due, and nothing is late yet.
    assert told_at(q, clock, 0.000_001) == {"silent: idle", "silent holder: slow", "ready: u", "expired"}
    late = {"ready: u", "expired", "overrun", "schedule", "gate"}
    assert told_at(q, clock, 0.000_001) == {"silent: idle", "silent holder: slow", *late}
    assert told_at(q, clock, 119.999_997) == {"silent: idle", *late}
    assert told_at(q, clock, 0.000_001) == {"silent: idle", *late, "unserved: u"}
    assert told_at(q, clock, 0.000_001) == {"silent: idle", "silent: w1", *late, "unserved: u"}
    assert flow.status == "WAITING_FOR_EXTERNAL"


def told_at(q: Ledger, clock: Clock, after: float) -> set[str]:
    """What health() names then, whatever its level."""
    clock.advance(after)
    rows = checks(q)
    told = {f"silent: {w}" for w in rows["worker.silent"]["detail"]["workers"]}
    told |= {f"silent holder: {w}" for w in rows["worker.silent_holder"]["detail"]["workers"]}
    told |= {f"ready: {t['job_type']}" for t in rows["queue.ready_age"]["detail"]["worst"]}
    told |= {f"unserved: {t['job_type']}" for t in rows["queue.no_worker"]["detail"]["worst"]}
    told |= {"expired"} if rows["lease.expired"]["detail"]["leases"] else set()
    told |= {"overrun"} if rows["lease.overrun"]["detail"]["jobs"] else set()
    told |= {"schedule"} if rows["schedule.lag"]["detail"]["schedules"] else set()
    return told | ({"gate"} if rows["gate.overdue"]["detail"]["gates"] else set())


# --- schedules and gates ---------------------------------------------------------------------------


def test_overdue_schedules(q: Ledger, clock: Clock):
    clock.noon()
    q.row("upsert_schedule", name="it's often", job_type="t", cron="* * * * *")
    check(q, "schedule.lag", "OK")
    clock.advance(125)
    found = check(q, "schedule.lag", "WARN")
    assert found["detail"]["schedules"] == ["it's often"]
    clock.advance(300)
    check(q, "schedule.lag", "CRIT")
    mend(q, found)
    assert q.pending() == 1


def test_schedules_that_cannot_fire(q: Ledger, db: Db, clock: Clock):
    clock.noon()
    q.row("upsert_schedule", name="often", job_type="t", cron="* * * * *")
    db.execute("update runledger.job_definitions set is_enabled = false, disabled_at = now()")
    clock.advance(61)
    assert q.row("fire_due_schedules")["code"] == "job.definition_not_found_or_disabled"
    found = check(q, "schedule.deferred", "WARN")
    assert found["detail"]["code"] == "job.definition_not_found_or_disabled"
    assert (
        db.value("select hint from runledger.error_codes() where code = 'job.definition_not_found_or_disabled'")
        in found["explanation"]
    )
    check(q, "schedule.lag", "OK")
    q.conn.execute(found["fix"])
    clock.advance(31)
    assert q.row("fire_due_schedules")["disposition"] == "FIRED"
    check(q, "schedule.deferred", "OK")


def test_schedules_are_told_worst_first_and_ten_of_them(q: Ledger, clock: Clock):
    clock.noon()
    for n in range(12, 0, -1):
        q.row("upsert_schedule", name=f"at{n}", job_type="t", cron=f"{n % 5} * * * *")
    q.row("upsert_schedule", name="idle", job_type="t", cron="* * * * *")
    q.row("pause_schedule", name="idle")
    clock.advance(HOUR)
    check(q, "schedule.lag", "CRIT")
    q.db.execute("update runledger.job_definitions set is_enabled = false, disabled_at = now()")
    q.rows("fire_due_schedules")
    check(q, "schedule.deferred", "WARN")
    clock.advance(HOUR)
    q.rows("fire_due_schedules")
    check(q, "schedule.deferred", "CRIT")
    q.db.execute("delete from runledger.job_schedules")


def test_a_schedule_of_workflows_that_cannot_fire_is_to_be_looked_at(q: Ledger, db: Db, clock: Clock):
    clock.noon()
    q.row("upsert_schedule", name="flows", job_type=None, workflow_type="w", steps=[gate("g"), step("a")], cron="* * * * *")
    db.execute("update runledger.job_definitions set is_enabled = false, disabled_at = now()")
    clock.advance(61)
    q.rows("fire_due_schedules")
    found = check(q, "schedule.deferred", "WARN")
    assert [name for (name, *_) in q.conn.execute(found["fix"].encode()).fetchall()]


def test_gates_over_their_time(q: Ledger, clock: Clock):
    flow = Flows(q)(gate("g", timeout_seconds=60, on_timeout="SUCCEEDED"))
    clock.advance(119)
    check(q, "gate.overdue", "OK")
    clock.advance(3)
    mend(q, check(q, "gate.overdue", "WARN"))
    assert flow.status == "SUCCEEDED"


# --- upkeep ----------------------------------------------------------------------------------------


def test_maintenance_that_nobody_calls(q: Ledger, db: Db, clock: Clock):
    clock.advance(301)
    found = checks(q)["upkeep.maintenance"]  # as old as the template
    assert found["level"] == "WARN"
    mend(q, found)
    clock.advance(25)
    q.rows("run_maintenance")
    clock.advance(290)
    found = check(q, "upkeep.maintenance", "WARN")
    assert 310 < found["value"] < 330, "the pass of 25 s later is not worth a write"
    clock.advance(HOUR)
    check(q, "upkeep.maintenance", "CRIT")
    mend(q, found)
    clock.advance(-2 * HOUR)
    q.rows("run_maintenance")
    assert db.value("select last_pass_at <= runledger._now() from runledger.upkeep_state")


def test_a_fail_over_that_was_not_dealt_with(q: Ledger, db: Db):
    q.rows("run_maintenance")
    db.execute("update runledger.upkeep_state set timeline = 'FFFFFFFF'")
    found = check(q, "upkeep.timeline", "CRIT")
    assert found["detail"]["known"] == "FFFFFFFF"
    mend(q, found)


def test_tokens_behind(q: Ledger, db: Db):
    leases = [q.leased(), q.leased()]
    db.execute("alter sequence runledger.lease_token_seq restart")
    mend(q, check(q, "upkeep.tokens", "CRIT"))
    assert q.leased()["lease_token"] > max(lease["lease_token"] for lease in leases)


def test_missing_partitions(q: Ledger, clock: Clock):
    clock.noon()
    clock.advance(DAY)
    check(q, "upkeep.partitions", "OK")
    clock.advance(DAY)
    found = check(q, "upkeep.partitions", "WARN")
    assert (found["value"], len(found["detail"]["missing"])) == (4, 4)
    clock.advance(DAY)
    check(q, "upkeep.partitions", "CRIT")
    mend(q, found)
    assert checks(q)["upkeep.partitions"]["value"] == 0


def test_rows_without_a_partition(q: Ledger, clock: Clock):
    clock.advance(30 * DAY)
    job_id = q.enqueue()
    q.row("log_job", job_id=job_id, level="info", message="x")
    found = check(q, "upkeep.default_rows", "WARN")
    assert found["value"] == 2
    q.enqueue_many(1200)
    found = check(q, "upkeep.default_rows", "WARN")
    assert "at least 1001 rows" in found["explanation"]
    q.row("set_retention", history="1 day")
    clock.advance(3 * DAY)
    for _ in range(40):
        q.conn.execute(found["fix"])
    check(q, "upkeep.default_rows", "OK")


def test_history_that_is_not_dropped_in_time(q: Ledger, clock: Clock):
    clock.noon()
    q.row("set_retention", history="10 days")
    clock.advance(11 * DAY)
    check(q, "upkeep.retention", "OK")
    clock.advance(DAY + HOUR)
    found = check(q, "upkeep.retention", "WARN")
    assert "is past its time by" in found["explanation"]
    for _ in range(40):
        q.conn.execute(found["fix"])
    check(q, "upkeep.retention", "OK")
    clock.advance(30 * DAY)
    check(q, "upkeep.retention", "CRIT")
    q.row("set_retention", history="0")
    check(q, "upkeep.retention", "OK")


def test_a_look_for_old_jobs_that_never_ends(q: Ledger, db: Db):
    q.rows("run_maintenance")
    db.execute("update runledger.prune_passes set ended_at = null, started_at = started_at - interval '2 days'")
    found = check(q, "upkeep.retention", "WARN")
    assert "going on for 2 d" in found["explanation"]


# --- the server ------------------------------------------------------------------------------------


def test_dead_rows(q: Ledger, db: Db):
    db.execute("alter table runledger.job_dead_letters set (autovacuum_enabled = off)")
    db.execute(
        "insert into runledger.job_dead_letters (job_id, job_type, run_number, attempt, payload_snapshot, failed_at)"
        " select gen_random_uuid(), 't', 1, 1, '{}', now() from generate_series(1, 200001)"
    )
    db.execute("delete from runledger.job_dead_letters")
    db.execute("select pg_stat_force_next_flush()")
    db.value("select count(*) from runledger.job_dead_letters")
    found = check(q, "server.dead_rows", "WARN")
    assert found["detail"]["table"] == "job_dead_letters"
    assert "never vacuumed" in found["explanation"]
    mend(q, found)


def test_tables_of_others_are_none_of_its_business(q: Ledger, db: Db):
    db.execute("create table public.theirs (n integer) with (autovacuum_enabled = off)")
    db.execute("create index theirs_idx on public.theirs (n)")
    db.execute("insert into public.theirs select generate_series(1, 2000)")
    db.execute("delete from public.theirs")
    db.execute("alter table public.theirs add constraint positive check (n > 0) not valid")
    db.execute("update pg_index set indisvalid = false where indexrelid = 'public.theirs_idx'::regclass")
    db.execute("alter table runledger.job_dead_letters set (autovacuum_enabled = on)")
    db.execute("alter table runledger.job_queue set (autovacuum_enabled = off)")
    q.enqueue_many(900)
    q.conn.execute("select pg_stat_force_next_flush()")
    q.conn.execute("select")
    db.execute("update runledger.job_queue set stage = stage")
    db.execute("select pg_stat_force_next_flush()")
    db.value("select count(*) from runledger.job_queue")
    with bound(db, "server.dead_rows", 800):
        check(q, "server.dead_rows", "WARN")
        check(q, "server.autovacuum", "WARN")
        check(q, "schema.indexes", "OK")
        check(q, "schema.constraints", "OK")
        db.execute("vacuum runledger.job_queue")
        assert checks(q)["server.dead_rows"]["level"] == "OK"


def test_several_indexes_and_constraints_are_told_in_order(q: Ledger, db: Db):
    names = ("a_pending_job_has_an_attempt_left", "a_lease_has_worker_token_and_expiry")
    for name in names:
        definition = db.value("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [name])
        db.execute(f"alter table runledger.job_queue drop constraint {name}")
        db.execute(f"alter table runledger.job_queue add constraint {name} {definition} not valid")
    db.execute("update pg_index set indisvalid = false where indexrelid = 'runledger.job_queue_lane_idx'::regclass")
    db.execute("update pg_index set indisready = false where indexrelid = 'runledger.job_queue_claim_idx'::regclass")
    mend(q, check(q, "schema.constraints", "WARN"))
    mend(q, check(q, "schema.indexes", "WARN"))


def test_autovacuum_that_is_switched_off(q: Ledger, db: Db):
    db.execute("alter table runledger.job_events_default set (autovacuum_enabled = off)")
    db.execute("alter table runledger.job_queue set (autovacuum_enabled = false)")
    found = check(q, "server.autovacuum", "WARN")
    assert found["value"] == 2
    assert "job_queue" in found["explanation"]
    mend(q, found)


def test_a_setting_of_the_server_is_mended_by_a_statement_of_its_own(q: Ledger, db: Db):
    """A server refuses ALTER SYSTEM that is sent with anything else, as psql -c and many a program would."""
    db.execute("set track_counts = off")
    db.execute("alter table runledger.job_queue set (autovacuum_enabled = false)")
    found = checks(q.on(db.conn))["server.autovacuum"]
    assert (found["value"], found["fix"]) == (2, "alter system set track_counts = on;")
    assert "pg_reload_conf()" in found["explanation"]
    db.execute(found["fix"])
    db.execute("alter system reset track_counts")
    db.execute("reset track_counts")
    mend(q, check(q, "server.autovacuum", "WARN"))


def test_a_transaction_that_is_open_for_long(q: Ledger, db: Db, clock: Clock):
    holder = db.database.connect(autocommit=False, application_name="nightly report")
    holder.execute("set transaction isolation level repeatable read")
    holder.execute("select 1")
    reader = db.connect(autocommit=False)
    reader.execute("select 1")  # idle in a transaction, but without a snapshot: it holds nothing
    clock.advance(599)
    check(q, "server.snapshot", "OK")
    clock.advance(21)
    found = check(q, "server.snapshot", "WARN")
    pid = holder.info.backend_pid
    assert f"Session {pid} of role {holder.info.user} (nightly report), idle in transaction" in found["explanation"]
    assert found["fix"] == f"select pg_terminate_backend({pid});"
    clock.advance(HOUR)
    check(q, "server.snapshot", "CRIT")
    q.conn.execute(found["fix"])
    with pytest.raises(psycopg.OperationalError):
        holder.execute("select 1")
    holder.close()
    db.value("select count(*) from (select pg_stat_clear_snapshot()) as x")
    assert reader.execute("select 1").fetchone() == (1,)
    check(q, "server.snapshot", "OK")


def test_of_several_the_oldest_is_named(q: Ledger, db: Db, clock: Clock):
    """Whatever the order they connected in."""
    conns = [db.database.connect(autocommit=False, application_name=f"the {n}.") for n in range(5)]
    for n in (2, 4, 0, 3, 1):
        conns[n].execute("select pg_current_xact_id()")
    clock.advance(715)
    assert "(the 2.)" in check(q, "server.snapshot", "WARN")["explanation"]
    with bound(db, "server.horizon", 1):
        assert "(the 2.)" in check(q, "server.horizon", "WARN")["explanation"]
    for conn in conns:
        conn.close()


def test_who_holds_the_horizon_is_named_also_if_its_age_is_hidden(q: Ledger, db: Db):
    """The owner of the schema is no member of pg_read_all_stats: a superuser's session hides since when it is open."""
    holder = db.connect(admin=True, autocommit=False)
    holder.execute("select pg_current_xact_id()")
    for _ in range(30):
        q.conn.execute("select pg_current_xact_id()")
    with bound(db, "server.horizon", 20):
        found = check(q, "server.horizon", "WARN")
        assert 30 <= found["value"] < 100
        assert f"Session {holder.info.backend_pid} of role postgres, state hidden" in found["explanation"]
        assert checks(q)["server.snapshot"]["detail"]["hidden_sessions"] == 1
        holder.commit()
        check(q, "server.horizon", "OK")


def test_the_notification_queue(q: Ledger, db: Db):
    with bound(db, "server.notify", 0.00001):
        check(q, "server.notify", "OK")
        listener = db.connect(autocommit=False)
        listener.execute("listen x")
        listener.commit()
        listener.execute("select 1")
        db.execute("select count(pg_notify('x', repeat(n::text, 1500))) from generate_series(1, 100) as n")
        found = check(q, "server.notify", "WARN")
        assert listener.info.backend_pid in [row[0] for row in q.conn.execute(found["fix"].encode()).fetchall()]
        listener.commit()
        assert len(list(listener.notifies(timeout=10, stop_after=100))) == 100
        listener.commit()
        check(q, "server.notify", "OK")


# --- the schema ------------------------------------------------------------------------------------


def test_indexes_that_are_not_read(q: Ledger, db: Db):
    db.execute("update pg_index set indisvalid = false where indexrelid = 'runledger.job_queue_lane_idx'::regclass")
    found = check(q, "schema.indexes", "WARN")
    assert "job_queue_lane_idx" in found["explanation"]
    mend(q, found)


def test_constraints_that_are_not_validated(q: Ledger, db: Db):
    name = "a_pending_job_has_an_attempt_left"
    definition = db.value("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [name])
    db.execute(f"alter table runledger.job_queue drop constraint {name}")
    db.execute(f"alter table runledger.job_queue add constraint {name} {definition} not valid")
    found = check(q, "schema.constraints", "WARN")
    assert name in found["explanation"]
    mend(q, found)


def test_a_function_changed_by_hand_is_put_back_by_migrate(q: Ledger, db: Db):
    body = "select 100000::bigint"
    db.execute(f"create or replace function runledger._limit(name text) returns bigint language sql stable as '{body}'")
    db.execute("drop view runledger.limits")
    found = check(q, "schema.drift", "WARN")
    assert {(o["name"], o["change"]) for o in found["detail"]["objects"]} == {
        ("_limit(name text)", "CHANGED"), ("limits", "LOST"),
    }  # fmt: skip
    assert found["fix"] == "runledger migrate"
    report = m.migrate(db.dsn, check=True)
    assert (report.status, report.detail) == ("PENDING", "changed by hand: _limit(name text), limits")
    assert m.migrate(db.dsn).shelf_applied
    check(q, "schema.drift", "OK")
    assert m.migrate(db.dsn, check=True).status == "CURRENT"
    assert m.migrate(db.dsn).status == "CURRENT"


def test_a_function_added_by_hand(q: Ledger, db: Db):
    # What is not of the schema is none of its business.
    db.execute("create table public.theirs (id integer primary key, n integer unique check (n > 0))")
    db.execute("create view public.theirs_too as select 1 as x")
    db.execute("create function public.mine() returns integer language sql as 'select 1'")
    check(q, "schema.drift", "OK")
    q.conn.execute("create function runledger.mine() returns integer language sql as 'select 1'")
    found = check(q, "schema.drift", "WARN")
    assert found["detail"]["objects"] == [{"kind": "functions", "name": "mine()", "change": "ADDED"}]
    q.conn.execute("drop function runledger.mine()")
    check(q, "schema.drift", "OK")
    # Held against the last apply, not against one before.
    db.execute(
        "insert into runledger._shelves (sha256, contract, package_version, manifest) select sha256, contract,"
        " package_version, manifest #- '{functions,_limit(name text)}' from runledger._shelves order by id desc limit 1"
    )
    check(q, "schema.drift", "WARN")


def test_lost_indexes_and_constraints_are_made_as_they_were(q: Ledger, db: Db):
    before = db.column("select pg_get_indexdef(indexrelid) from pg_index order by 1")
    db.execute("drop index runledger.job_queue_claim_idx")
    db.execute("alter table runledger.job_queue drop constraint exactly_the_finished_jobs_have_finished_at")
    found = check(q, "schema.drift", "WARN")
    assert found["value"] == 2
    mend(q, found)
    assert db.column("select pg_get_indexdef(indexrelid) from pg_index order by 1") == before


def test_partitions_that_come_and_go_are_no_drift(q: Ledger, db: Db, clock: Clock):
    clock.advance(3 * DAY)
    q.rows("run_maintenance")
    db.execute(f"drop table runledger.job_events_{clock.now():%Y%m%d}")
    assert {o["name"] for o in checks(q)["schema.drift"]["detail"]["objects"]} == {"_now()"}, "the clock of the test"
