"""What why, health and metrics look at, each look by itself, against a walk through all rows."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger

INSTANT = timedelta(microseconds=1)


def test_the_types_that_wait_and_since_when(db: Db, q: Ledger, clock: Clock):
    """Of each type the eight highest priorities and the lowest; what lies between is not looked at."""
    now = clock.stop()
    priorities = {"a": [5], "b": list(range(8)), "c": list(range(-4, 5)), "d": list(range(12)), "e": [2**31 - 1, -(2**31)], "none": []}
    for job_type, lanes in priorities.items():
        q.define(job_type)
        # What is at work waits no more, however low or high it stands.
        for priority in (-100, 100):
            q.leased(job_type, priority=priority)
        for earliest in [*lanes, None]:
            # Each lane in turn is the one that is due longest.
            db.execute("delete from runledger.job_events where job_id in (select id from runledger.job_queue where status = 'PENDING')")
            db.execute("delete from runledger.job_queue where status = 'PENDING'")
            for n, lane in enumerate(lanes):
                for seconds in (10 + n, 20 + n):
                    q.enqueue(job_type, priority=lane, run_at=now + timedelta(seconds=-999 if lane == earliest else seconds))
            looked_at = sorted(lanes, reverse=True)
            looked_at = looked_at[:8] + looked_at[8:][-1:]
            due = min((-999 if lane == earliest else 10 + lanes.index(lane) for lane in looked_at), default=None)
            right = [] if due is None else [{"job_type": job_type, "due_at": now + timedelta(seconds=due)}]
            assert db.all("select * from runledger._waiting_types()") == right, (job_type, earliest)
    for job_type in ("b", "d", "a"):
        q.enqueue(job_type, run_at=now)
    found = db.all("select * from runledger._waiting_types()")
    assert found == [{"job_type": t, "due_at": now} for t in "abd"]


def test_the_jobs_ahead(db: Db, q: Ledger, clock: Clock):
    """Of higher priority and due, or of the same and due longer, or as long and of a smaller id; of the types asked for."""
    now = clock.stop()
    rand = random.Random(5)
    for job_type in "abc":
        q.define(job_type)
    for n in range(60):
        q.enqueue("abc"[n % 3], priority=rand.randrange(4), run_at=now + rand.choice([-2, -1, 0, 0, 0, 1, 2]) * INSTANT)
    leased = q.leased("a", priority=9)
    jobs = db.all("select id, job_type, priority, next_run_at from runledger.job_queue where status = 'PENDING' order by id")
    ahead = "select runledger._jobs_ahead(%s, c, %s) from runledger._job_case(%s, null) as c"
    for job in jobs:
        for types in (["a"], ["b", "c"], ["a", "b", "c"], [], ["none"]):
            others = [o for o in jobs if o["job_type"] in types]
            higher = [o for o in others if o["priority"] > job["priority"] and o["next_run_at"] <= now]
            same = [o for o in others if o["priority"] == job["priority"]
                    and (o["next_run_at"], o["id"]) < (job["next_run_at"], job["id"])]  # fmt: skip
            assert db.value(ahead, [types, now, job["id"]]) == [len(higher), len(same)]
    q.succeed(leased)


def test_of_very_many_jobs_ahead_a_thousand_and_one_are_counted(db: Db, q: Ledger, clock: Clock):
    now = clock.stop()
    q.enqueue_many(1002, priority=3)
    last = q.enqueue(priority=3)
    for priority in (3, 2):
        db.execute("update runledger.job_queue set priority = %s where id = %s", [priority, last])
        ahead = "select runledger._jobs_ahead('{t}', c, %s) from runledger._job_case(%s, null) as c"
        assert db.value(ahead, [now, last]) == ([0, 1001] if priority == 3 else [1001, 0])


def test_of_very_many_lanes_a_hundred_are_looked_at(db: Db, q: Ledger, clock: Clock):
    now = clock.stop()
    for priority in range(1, 103):
        q.enqueue(priority=priority)
    last = q.enqueue(priority=0)
    assert db.value("select runledger._jobs_ahead('{t}', c, %s) from runledger._job_case(%s, null) as c", [now, last]) == [100, 0]


def test_of_very_many_leases_and_dead_letters_a_thousand_are_looked_at(db: Db, q: Ledger, clock: Clock):
    now = clock.stop()
    q.enqueue_many(1003)
    claimed = q.claim(1000) + q.claim(3)
    assert db.value("select sum(busy) from runledger._handlers('t', %s)", [now]) == 1001
    ended = {"outcome": "FAILED", "kind": "TERMINAL", "error_code": "e", "error_message": "m"}
    q.finish(*({"job_id": c["job_id"], "lease_token": c["lease_token"], **ended} for c in claimed))
    letters = "select value from runledger._fleet_samples(%s) where family = 'runledger_dead_letters'"
    assert db.value(letters, [now]) == "1000"
    # The newest, of which some were requeued meanwhile.
    oldest, newest = db.column("select job_id from runledger.job_dead_letters order by failed_at, job_id")[:: 1002]
    q.row("requeue_job", job_id=oldest)
    assert db.value(letters, [now]) == "1000"
    q.row("requeue_job", job_id=newest)
    assert db.value(letters, [now]) == "999"


def test_slots_over_eight_days_old_are_forgotten_ten_thousand_a_pass(db: Db, q: Ledger, clock: Clock):
    now = clock.stop()
    db.execute(
        "insert into runledger.job_metrics_slots (slot_at, job_type, outcome, bucket, events, duration_us)"
        " select %(at)s - make_interval(secs => n * 0.000001), 't', 'SUCCEEDED', n, 1, 1 from generate_series(0, 10001) as n",
        {"at": now - timedelta(days=8)},
    )
    left = "select count(*) from runledger.job_metrics_slots"
    for right in (2, 1, 1):
        assert db.all("select * from runledger._roll_up(null, 1000, %s)", [now]) == [{"affected": 0, "more": False}]
        assert db.value(left) == right


def test_every_family_and_sample_has_its_own_place(db: Db, q: Ledger):
    q.define("u")
    assert db.column("select place from runledger._metric_families()") == list(range(1, 19))
    for look in ("_outcome_samples()", "_queue_samples(now())", "_fleet_samples(now())"):
        rows = db.all(f"select family, nth from runledger.{look}")
        families = {r["family"] for r in rows}
        for family in families:
            places = [r["nth"] for r in rows if r["family"] == family]
            assert len(set(places)) == len(places), family
    durations = db.all("select suffix, labels from runledger._outcome_samples() where family like '%duration%' and labels like '%\"u\"%' order by nth")
    assert [r["suffix"] for r in durations] == ["_bucket"] * 16 + ["_sum", "_count"]
    assert [r["labels"].partition('le="')[2].strip('"') for r in durations[:16]] == [
        "0.001", "0.003162", "0.01", "0.031623", "0.1", "0.316228", "1", "3.162278", "10", "31.622777", "100", "316.227766", "1000",
        "3162.27766", "10000", "+Inf",
    ]  # fmt: skip


def test_the_workers_of_a_type(db: Db, q: Ledger, clock: Clock):
    """Registered for it or holding a job of it, heard of by word or by lease, and how many jobs each holds."""
    now = clock.stop()
    q.define("u")
    for name, types, most in (("both", ["t", "u"], 3), ("full", ["t"], 2), ("other", ["u"], 5), ("idle", ["t"], 1), ("quiet", ["t"], 1)):
        q.row("register_worker", worker_id=name, job_types=types, max_jobs=most)
    for name, job_type in [("both", "t"), ("both", "u"), ("full", "t"), ("full", "t"), ("full", "u"), ("other", "t"),
                           ("stranger", "t"), ("stranger", "u"), ("else", "u"), ("ended", "t"), ("awake", "t")]:  # fmt: skip
        q.leased(job_type, worker=name)
    q.row("cancel_job", job_id=q.leased(worker="canceled")["job_id"])
    seen = "update runledger.workers set last_seen_at = %s where worker_id = %s"
    db.execute(seen, [now - timedelta(minutes=3), "idle"])
    db.execute(seen, [now - timedelta(minutes=3, microseconds=1), "quiet"])
    db.execute(seen, [now - timedelta(hours=3), "both"])
    db.execute("update runledger.job_queue set lease_expires_at = %s where worker_id = 'ended'", [now])
    db.execute("update runledger.job_queue set lease_expires_at = %s, last_heartbeat_at = %s where worker_id = 'awake'", [now + INSTANT, now - timedelta(hours=1)])

    def handlers(job_type: str) -> dict[str, tuple[Any, ...]]:
        rows = db.conn.execute("select * from runledger._handlers(%s, %s)", [job_type, now]).fetchall()
        return {r[0]: r[1:] for r in rows}

    long_ago = {n: timedelta(minutes=n) for n in (3, 60)}
    assert handlers("t") == {
        "both": (True, ["t", "u"], 3, 2, now, True), "full": (True, ["t"], 2, 2, now, True),
        "idle": (True, ["t"], 1, 0, now - long_ago[3], True), "quiet": (True, ["t"], 1, 0, now - long_ago[3] - INSTANT, False),
        "other": (False, None, None, 1, now, None), "stranger": (False, None, None, 2, now, None),
        "awake": (False, None, None, 1, now - long_ago[60], None),
    }  # fmt: skip
    assert handlers("u") == {
        "both": (True, ["t", "u"], 3, 2, now, True), "other": (True, ["u"], 5, 1, now, True),
        "full": (False, None, None, 3, now, None), "stranger": (False, None, None, 2, now, None),
        "else": (False, None, None, 1, now, None),
    }  # fmt: skip
    assert handlers("none") == {}


def test_who_holds_a_row_or_an_advisory_lock(db: Db):
    """By its transaction or by a pair of keys; of this database; once it is over a second old."""
    row, advisory = (db.connect(autocommit=False) for _ in range(2))
    for conn, name in ((row, "my app"), (advisory, "")):
        conn.execute("select set_config('application_name', %s, false)", [name])
        conn.commit()
    locker = row.execute("select pg_current_xact_id()::xid::text").fetchone()[0]
    advisory.execute("select pg_advisory_lock(7, 8), pg_advisory_lock(9), pg_advisory_xact_lock_shared(7, 9)")
    with db.connect(admin=True) as admin:
        began = {
            conn: admin.execute("select xact_start from pg_stat_activity where pid = %s", [conn.info.backend_pid]).fetchone()[0]
            for conn in (row, advisory)
        }

    def holders(locker: str, keys: tuple[int, int], after: timedelta, of: Any) -> list[tuple[str, str]]:
        told = db.conn.execute("select * from runledger._lock_holders(%s::xid, %s, %s, %s)", [locker, *keys, began[of] + after])
        return told.fetchall()

    second = timedelta(seconds=1)
    for of, of_locker, keys, name in ((row, locker, (1, 1), "my app, "), (advisory, "0", (7, 8), "")):
        pid = of.info.backend_pid
        when = db.value("select runledger._when(%s, %s)", [began[of], began[of] + second + INSTANT])
        words = f"The open transaction of session {pid} (runledger_owner, {name}idle in transaction, since {when})"
        fix = f"select pg_terminate_backend({pid}, 5000);"
        assert holders(of_locker, keys, second + INSTANT, of) == [(words, fix)]
        assert holders(of_locker, keys, second, of) == []
    for nobody in ((7, 9), (8, 7), (7, 7), (0, 9), (1, 8)):
        assert holders("0", nobody, 9 * second, row) == []
    assert holders("3", (1, 1), 9 * second, row) == []
    # Of itself nobody is told.
    own = "select count(*) from runledger._lock_holders(pg_current_xact_id()::xid, 5, 6, now() + interval '1 day')"
    assert db.value(f"select ({own}) from pg_advisory_lock(5, 6)") == 0
    db.execute("select pg_advisory_unlock_all()")
    row.rollback()
    assert holders(locker, (1, 1), 9 * second, row) == []
    advisory.execute("select pg_advisory_unlock_all()")
    assert holders("0", (7, 8), 9 * second, advisory) == []
    advisory.rollback()


def test_which_constraints_stand_as_the_last_apply_left_them(db: Db):
    """The last one of several; of that table in our schema; valid; an index only if it is unique."""
    def guarded(*names: str, table: str = "workers") -> bool:
        return db.value("select runledger._is_guarded(%s, %s)", [table, list(names)])

    [check, *_] = db.column("select conname from pg_constraint where contype = 'c' and conrelid = 'runledger.workers'::regclass order by 1")
    db.execute("create table public.workers (id int constraint lonely check (id > 0))")
    db.execute("create unique index alone on runledger.workers (worker_id, max_jobs)")
    db.execute("create index several on runledger.workers (max_jobs)")
    assert guarded() is guarded("workers_pkey") is guarded("workers_pkey", check) is guarded(check) is True
    for names in (("none",), ("workers_pkey", "none"), ("alone",), ("several",), ("job_queue_pkey",), ("lonely",)):
        assert guarded(*names) is False
    assert guarded("workers_pkey", table="job_queue") is guarded("workers_pkey", table="none") is False
    db.execute("update runledger._shelves set manifest = runledger._schema_manifest(true)")
    assert guarded("alone") is guarded("alone", check, "workers_pkey") is True
    assert guarded("several") is False
    definition = db.value("select pg_get_constraintdef(oid) from pg_constraint where conname = %s", [check])
    db.execute(f"alter table runledger.workers drop constraint {check}")
    assert guarded(check) is False
    for says, right in ((f"{definition} not valid", False), ("check (max_jobs > -1)", False), (definition, True)):
        db.execute(f"alter table runledger.workers add constraint {check} {says}")
        assert guarded(check) is right
        assert guarded("workers_pkey", check) is right
        if not right:
            db.execute(f"alter table runledger.workers drop constraint {check}")
    db.execute(
        "insert into runledger._shelves (sha256, contract, package_version, manifest)"
        " select sha256, contract, package_version, '{}' from runledger._shelves order by id desc limit 1"
    )
    assert guarded("workers_pkey") is False
    assert guarded() is True


def test_what_is_in_the_schema_and_what_is_not_as_it_was(db: Db):
    def keys(kind: str) -> set[str]:
        return set(db.column("select jsonb_object_keys(runledger._schema_manifest(false) -> %s)", [kind]))

    for other in ("create function public.mine() returns int language sql return 1", "create view public.mine_too as select 1",
                  "create table public.mine_three (id int primary key check (id > 0))"):  # fmt: skip
        db.execute(other)
    assert keys("functions") == set(db.column(
        "select proname || '(' || pg_get_function_identity_arguments(oid) || ')' from pg_proc where pronamespace = 'runledger'::regnamespace"))
    assert keys("views") == set(db.column("select viewname::text from pg_views where schemaname = 'runledger'"))
    of_table = "r.relnamespace = 'runledger'::regnamespace and not r.relispartition"
    assert keys("indexes") == set(db.column(
        f"select i.indexrelid::regclass::text from pg_index i join pg_class r on r.oid = i.indrelid where {of_table}"
        .replace("i.indexrelid::regclass::text", "(select relname::text from pg_class where oid = i.indexrelid)")))
    assert keys("constraints") == set(db.column(
        f"select r.relname || '.' || k.conname from pg_constraint k join pg_class r on r.oid = k.conrelid where {of_table} and k.contype <> 'n'"))
    whole = db.value("select runledger._schema_manifest(true)")
    assert db.value("select pg_get_indexdef('runledger.workers_pkey'::regclass)") == whole["indexes"]["workers_pkey"]
    assert whole["constraints"]["workers.workers_pkey"] == "alter table runledger.workers add constraint workers_pkey PRIMARY KEY (worker_id)"
    assert set(whole["views"].values()) == {""}
    assert db.value("select (runledger._schema_manifest(false) -> 'indexes' ->> 'workers_pkey') is null")
    assert db.all("select * from runledger._schema_drift()") == []
    lost = db.one(
        "select r.relname, k.conname from pg_constraint k join pg_class r on r.oid = k.conrelid"
        f" where {of_table} and k.contype = 'c' and r.relname = 'workers' order by 2 limit 1"
    )
    for change in (
        f"alter table runledger.workers drop constraint {lost['conname']}",
        "create index more on runledger.workers (max_jobs)", "create view runledger.seen as select 1 as one",
        "create function runledger.more() returns int language sql return 1", "drop function runledger._by_hand(text)",
        "alter function runledger._complete_gate(uuid, text) volatile",
    ):  # fmt: skip
        db.execute(change)
    shelved = db.value("select manifest from runledger._shelves order by id desc limit 1")
    place = f"workers.{lost['conname']}"
    function = "_by_hand(job_type text)"
    drift = [
        ("constraints", place, "LOST", whole["constraints"][place]),
        ("functions", function, "LOST", shelved["functions"][function]),
        ("functions", "_complete_gate(run_id uuid, step_key text)", "CHANGED", shelved["functions"]["_complete_gate(run_id uuid, step_key text)"]),
        ("functions", "more()", "ADDED", None),
        ("views", "seen", "ADDED", None),
    ]
    assert [tuple(r.values()) for r in db.all('select * from runledger._schema_drift() order by kind collate "C", name collate "C"')] == drift


def test_the_statements_to_take_a_job_and_to_complete_a_gate(db: Db, q: Ledger):
    assert db.value("select runledger._by_hand('o''clock')") == (
        "select job_id, lease_token, payload from runledger.claim_jobs('by-hand', array['o''clock'], 1, 300, prestart => true);"
    )
    run = "00000000-0000-7000-8000-00000000000a"
    assert db.value("select runledger._complete_gate(%s, 'o''clock')", [run]) == (
        f"select * from runledger.complete_external_step('{run}', 'o''clock');"
    )


def test_what_is_looked_at_of_a_job(db: Db, q: Ledger):
    lease = q.leased(organization_id=OTHER_TENANT)
    job_id = lease["job_id"]
    q.row("report_progress", **lease, done=1, total=3, stage="half")
    q.fail(lease)
    [case] = db.all("select * from runledger._job_case(%s, %s)", [job_id, TENANT])
    job = q.job(job_id)
    own = {"locker", "tenant", "is_redacted"}
    assert {k: v for k, v in case.items() if k not in own} == {k: job[k] for k in case if k not in own}
    assert (case["tenant"], case["is_redacted"]) == (TENANT, False)
    assert db.all("select * from runledger._job_case(%s, null)", ["00000000-0000-7000-8000-000000000000"]) == []
