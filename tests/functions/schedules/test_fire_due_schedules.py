"""Firing: each due instant once, job and cursor in one piece, and no schedule in the way of another."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.functions.schedules.conftest import Fire, Plan, jobs, stored, to
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import TENANT, Ledger

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
LONG_AGO = datetime(2020, 5, 1, 12, 34, 56, tzinfo=UTC)
STEPS = [{"key": "a", "job_type": "t"}, {"key": "b", "job_type": "t", "after_success": ["a"]}]


def at(q: Ledger, cron: str = "0 * * * *") -> datetime:
    return q.row("next_fire_at", cron=cron)["next_fire_at"]


def test_a_due_schedule_starts_one_job_and_moves_on(db: Db, plan: Plan, fire: Fire, clock: Clock, q: Ledger):
    q.define("t", priority=7, max_attempts=3, timeout_seconds=77)
    due = plan(payload={"n": 1}, organization_id=TENANT)["next_fire_at"]
    to(clock, due, late=2)
    [row] = fire()
    job = q.job(row["job_id"])
    assert row == {
        "name": "s", "job_id": job["id"], "workflow_run_id": None, "scheduled_for": due, "next_fire_at": due + HOUR,
        "disposition": "FIRED", "code": None,
    }  # fmt: skip
    assert (job["job_type"], job["status"], job["stage"], job["organization_id"]) == (
        "t",
        "PENDING",
        "scheduled",
        TENANT,
    )
    assert (job["priority"], job["max_attempts"], job["timeout_seconds"], job["idempotency_key"]) == (7, 3, 77, None)
    s = stored(db)
    assert (job["schedule_id"], job["scheduled_for"]) == (s["id"], due)
    assert job["payload"] == {
        "n": 1,
        "_schedule": {
            "schedule_id": str(s["id"]),
            "schedule_name": "s",
            "scheduled_for": due.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        },
    }
    assert (s["next_fire_at"], s["next_base_at"]) == (due + HOUR, due + HOUR)
    assert job["next_run_at"] == job["created_at"] == s["last_fired_at"]
    assert due < s["last_fired_at"] < due + MINUTE
    assert q.told(job["id"]) == [("ENQUEUED", 1, None)]
    assert fire() == []
    assert [c["job_id"] for c in q.claim()] == [job["id"]]


def test_what_is_not_due_or_not_active_does_not_fire(db: Db, plan: Plan, fire: Fire, clock: Clock):
    due = plan("later")["next_fire_at"]
    plan("inactive", is_active=False, next_fire_at=LONG_AGO)
    before = db.all("select xmin, s.* from runledger.job_schedules s order by name")
    assert fire() == []
    to(clock, due, late=-2)
    assert fire() == []
    assert db.all("select xmin, s.* from runledger.job_schedules s order by name") == before
    assert db.all("select * from runledger.job_queue") == []


def test_what_is_no_object_is_wrapped_and_schedule_is_overwritten(db: Db, plan: Plan, fire: Fire):
    templates = {"null": None, "list": [1, 2], "number": 7, "text": "x", "own": {"_schedule": "mine", "_schedules": 1}}
    for name, template in templates.items():
        plan(name, payload=template, next_fire_at=LONG_AGO)
    db.execute("update runledger.job_schedules set payload_template = 'null' where name = 'null'")
    fire()
    for name, template in templates.items():
        [job] = jobs(db, name)
        about = job["payload"].pop("_schedule")
        assert (about["schedule_name"], about["scheduled_for"]) == (name, "2020-05-01T12:34:56.000000Z")
        assert job["payload"] == ({"_schedules": 1} if name == "own" else {"payload": template})


# --- missed fires ------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [0, 59, 61, 86_400 * 400])
def test_once_fires_once_for_all_that_were_missed(db: Db, plan: Plan, fire: Fire, clock: Clock, late: int):
    due = plan(cron="*/10 * * * * *")["next_fire_at"]
    to(clock, due, late=late)
    [row] = fire()
    assert (row["scheduled_for"], row["disposition"]) == (due, "FIRED")
    now = clock.now()
    assert now < row["next_fire_at"] + timedelta(seconds=1)
    assert row["next_fire_at"] <= now + timedelta(seconds=10)
    assert row["next_fire_at"].second % 10 == 0


def test_skip_drops_what_is_over_a_minute_late(db: Db, plan: Plan, fire: Fire, clock: Clock):
    due = plan(missed="SKIP")["next_fire_at"]
    to(clock, due, late=50)
    assert fire()[0]["disposition"] == "FIRED"
    last = stored(db)["last_fired_at"]
    to(clock, due, late=3 * 3600 + 61)
    [row] = fire()
    assert (row["scheduled_for"], row["disposition"], row["code"], row["job_id"]) == (
        due + HOUR,
        "SKIPPED",
        "MISSED",
        None,
    )
    assert row["next_fire_at"] == due + 4 * HOUR
    assert stored(db)["last_fired_at"] == last
    assert len(jobs(db)) == 1
    to(clock, due, late=10 * 3600 + 20)
    assert [r["disposition"] for r in fire() + fire()] == ["SKIPPED", "FIRED"]
    assert [j["scheduled_for"] for j in jobs(db)] == [due, due + 10 * HOUR]


def test_all_fires_each_oldest_first(db: Db, plan: Plan, fire: Fire, clock: Clock):
    due = plan(missed="ALL")["next_fire_at"]
    to(clock, due, late=4 * 3600 + 5)
    rows = fire()
    assert [r["scheduled_for"] for r in rows] == [due + n * HOUR for n in range(5)]
    assert [r["next_fire_at"] for r in rows] == [due + n * HOUR for n in range(1, 6)]
    assert {r["disposition"] for r in rows} == {"FIRED"}
    assert [j["scheduled_for"] for j in jobs(db)] == [due + n * HOUR for n in range(5)]
    assert sorted(jobs(db), key=lambda j: j["id"]) == jobs(db)
    assert fire() == []


def test_all_starts_at_most_a_thousand_a_call(db: Db, plan: Plan, fire: Fire, clock: Clock):
    """A year of downtime: what is left is left to the next call, and nobody else is kept waiting for it."""
    due = plan("all", "*/10 * * * *", missed="ALL")["next_fire_at"]
    plan("other", "*/10 * * * *")
    to(clock, due, late=86_400 * 14)
    first = fire()
    assert len(first) <= 1001
    assert [r["scheduled_for"] for r in first if r["name"] == "all"] == [due + n * 10 * MINUTE for n in range(1000)]
    rounds = 1
    while fire():
        rounds += 1
    assert rounds == 3
    assert len(jobs(db, "all")) == 14 * 144 + 1
    assert len(jobs(db, "other")) == 1


def test_each_policy_is_kept_through_a_change_of_the_clocks(db: Db, plan: Plan, fire: Fire, clock: Clock):
    to(clock, datetime(2026, 10, 24, 12, tzinfo=UTC))
    plan(cron="30 2 * * *", timezone="Europe/Berlin", missed="ALL")
    to(clock, datetime(2026, 10, 26, 12, tzinfo=UTC))
    assert [r["scheduled_for"] for r in fire()] == [
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
    ]  # fmt: skip


# --- jitter ------------------------------------------------------------------------------------------


def test_jitter_is_within_its_bounds_always_the_same_and_none_when_zero(db: Db):
    seen = db.all(
        "select max, i, runledger._jitter(s, b, max) as j, runledger._jitter(s, b, max) as again"
        " from (values (0), (1), (30), (86400)) as m (max), generate_series(1, 300) as i,"
        " lateral (select ('00000000-0000-7000-8000-' || lpad(i::text, 12, '0'))::uuid as s,"
        "   timestamptz '2026-01-01 00:00Z' + make_interval(mins => i) as b) x"
    )
    for most in (0, 1, 30, 86_400):
        values = [r["j"] for r in seen if r["max"] == most]
        assert min(values) >= 0
        assert max(values) <= most
        assert len(set(values)) >= min(most + 1, 20)
    assert all(r["j"] == r["again"] for r in seen)
    # Whatever the session, and for good: schedules in use must not move.
    one = "select runledger._jitter('018fa1f8-0000-7000-8000-000000000123', '2026-05-26T12:01:00Z', 30)"
    for setting in ("timezone = 'Asia/Tokyo'", "datestyle = 'German'", "extra_float_digits = -15"):
        db.execute(f"set {setting}")
        assert db.value(one) == 24


def test_jitter_delays_each_instant_and_never_past_the_next(db: Db, plan: Plan, fire: Fire, clock: Clock):
    start = plan(cron="*/5 * * * *", max_jitter_seconds=86_400)["next_fire_at"]
    fires, bases = [start], [stored(db)["next_base_at"]]
    for _ in range(30):
        to(clock, fires[-1], late=0.5)
        [row] = fire()
        assert row["scheduled_for"] == fires[-1]
        fires.append(row["next_fire_at"])
        bases.append(stored(db)["next_base_at"])
    assert [b - a for a, b in zip(bases, bases[1:], strict=False)] == [5 * MINUTE] * 30
    delays = [f - b for f, b in zip(fires, bases, strict=True)]
    assert all(timedelta(0) <= d < 5 * MINUTE for d in delays)
    assert len(set(delays)) > 10


def promises(db: Db, name: str, n: int) -> list[tuple[datetime, datetime]]:
    """The next instants of a schedule and their fires, found by walking from the first."""
    first = stored(db, name)
    found = [(first["next_base_at"], first["next_fire_at"])]
    while len(found) < n:
        row = db.one(
            "select (f).base_at, (f).fire_at from (select runledger._fire_after(s, runledger._parse_cron(s.cron_expr),"
            " '-infinity') as f from (select (jsonb_populate_record(s, %s)).* from runledger.job_schedules s where name = %s)"
            " as s) x",
            [json.dumps({"next_base_at": found[-1][0].isoformat()}), name],
        )
        found.append((row["base_at"], row["fire_at"]))
    return found


def test_after_downtime_the_next_fire_is_the_first_that_is_to_come(db: Db, plan: Plan, fire: Fire, clock: Clock):
    for most in (0, 40, 250, 3600):
        name = f"j{most}"
        plan(name, "*/5 * * * *", max_jitter_seconds=most)
        promised = [at for _, at in promises(db, name, 60)]
        for skip in (1, 7, 20):
            now = clock.now()
            first = next(i for i, p in enumerate(promised) if p > now)
            to(clock, promised[min(first + skip, 58)], late=1.5)
            [row] = [r for r in fire() if r["name"] == name]
            now = clock.now()
            assert row["next_fire_at"] == next(p for p in promised if p > now)
        db.execute("update runledger.job_schedules set is_active = false")


def test_after_downtime_an_instant_whose_jitter_is_still_to_come_is_kept(db: Db, plan: Plan, fire: Fire, clock: Clock):
    plan(cron="*/5 * * * *", max_jitter_seconds=250)
    base, promised = next((b, p) for b, p in promises(db, "s", 60)[10:] if p - b > 2 * MINUTE)
    to(clock, base, late=0.5)
    [row] = fire()
    assert row["scheduled_for"] < base < clock.now() < promised
    assert row["next_fire_at"] == promised


# --- one bad schedule ----------------------------------------------------------------------------------


def test_a_schedule_that_cannot_fire_is_put_off_and_keeps_nobody(
    db: Db, plan: Plan, fire: Fire, clock: Clock, q: Ledger
):
    q.define("broken")
    for name in ("a", "m", "z"):
        plan(name, next_fire_at=LONG_AGO)
    plan("bad", job_type="broken", next_fire_at=LONG_AGO - DAY)
    db.execute("update runledger.job_definitions set is_enabled = false, disabled_at = now() where job_type = 'broken'")
    rows = {r["name"]: r for r in fire()}
    assert {n: r["disposition"] for n, r in rows.items()} == {
        "bad": "DEFERRED",
        "a": "FIRED",
        "m": "FIRED",
        "z": "FIRED",
    }
    bad = stored(db, "bad")
    assert rows["bad"]["code"] == bad["deferred_code"] == "job.definition_not_found_or_disabled"
    assert (bad["next_fire_at"], bad["last_fired_at"]) == (LONG_AGO - DAY, None)
    assert (
        bad["due_at"]
        == bad["deferred_until"]
        == rows["bad"]["next_fire_at"]
        == bad["deferred_at"] + timedelta(seconds=30)
    )
    assert db.one("select * from runledger.schedules where name = 'bad'")["state"] == "deferred"
    assert fire() == []
    clock.advance(31)
    [row] = fire()
    assert row["disposition"] == "DEFERRED"
    db.execute("update runledger.job_definitions set is_enabled = true, disabled_at = null")
    clock.advance(31)
    [row] = fire()
    assert (row["disposition"], row["scheduled_for"]) == ("FIRED", LONG_AGO - DAY)
    assert (stored(db, "bad")["deferred_at"], stored(db, "bad")["deferred_code"]) == (None, None)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("cron_expr = 'nonsense'", "job_schedule.invalid_cron"),
        ("cron_expr = '0 0 30 2 *'", "job_schedule.cron_never_fires"),
        ("timezone = 'Mars/Olympus'", "22023"),
        ("job_type = null, workflow_type = 'w', workflow_steps = '[]'", "workflow.invalid_dag_empty"),
    ],
)
def test_a_bad_stored_row_keeps_nobody(db: Db, plan: Plan, fire: Fire, change: str, code: str):
    plan("bad", next_fire_at=LONG_AGO - DAY)
    plan("good", next_fire_at=LONG_AGO)
    db.execute(f"update runledger.job_schedules set {change} where name = 'bad'")
    assert [(r["name"], r["disposition"], r["code"]) for r in fire()] == [
        ("bad", "DEFERRED", code),
        ("good", "FIRED", None),
    ]
    assert jobs(db, "bad") == []


def test_more_bad_schedules_than_one_call_isolates(db: Db, plan: Plan, fire: Fire):
    """They are put off 11 a call, and the good one behind 30 of them fires within three."""
    for n in range(30):
        plan(f"bad{n:02}", next_fire_at=LONG_AGO - DAY)
    plan("good", next_fire_at=LONG_AGO)
    db.execute("update runledger.job_schedules set cron_expr = 'x' where name like 'bad%'")
    rows = [fire() for _ in range(3)]
    assert [len(r) for r in rows] == [11, 11, 9]
    assert rows[2][-1]["disposition"] == "FIRED"
    assert fire() == []


def test_a_schedule_that_vanishes_takes_its_job_with_it(db: Db, plan: Plan, fire: Fire):
    """The insert of its job deletes it: then neither job nor cursor are written, and the others fire."""
    db.execute("""
        create function public.vanish() returns trigger language plpgsql as $$
        begin delete from runledger.job_schedules where id = new.schedule_id and name = 'gone'; return new; end $$""")
    db.execute(
        "create trigger vanish after insert on runledger.job_queue for each row execute function public.vanish()"
    )
    plan("gone", next_fire_at=LONG_AGO)
    plan("stays", next_fire_at=LONG_AGO)
    rows = {r["name"]: (r["disposition"], r["code"]) for r in fire()}
    assert rows == {"gone": ("DEFERRED", "job_schedule.not_found"), "stays": ("FIRED", None)}
    assert jobs(db, "gone") == []
    assert stored(db, "gone")["next_fire_at"] == LONG_AGO


def test_an_error_after_the_job_takes_the_job_back(db: Db, plan: Plan, fire: Fire):
    db.execute("""
        create function public.refuse() returns trigger language plpgsql as $$
        begin if new.next_fire_at <> old.next_fire_at then raise exception 'no' using errcode = 'P0001'; end if; return new; end $$""")
    db.execute(
        "create trigger refuse before update on runledger.job_schedules for each row execute function public.refuse()"
    )
    plan(next_fire_at=LONG_AGO)
    [row] = fire()
    assert (row["disposition"], row["code"]) == ("DEFERRED", "P0001")
    assert db.all("select * from runledger.job_queue") == []
    assert db.all("select * from runledger.job_events") == []


# --- once, whoever calls -------------------------------------------------------------------------------


def test_two_schedulers_start_one_job(db: Db, plan: Plan, sessions):
    plan(next_fire_at=LONG_AGO)
    a, b = sessions("a", "b")
    call = "select disposition from runledger.fire_due_schedules()"
    assert a.begin().execute(call) == [{"disposition": "FIRED"}]
    assert b.execute(call) == []
    a.commit()
    assert b.execute(call) == []
    assert len(jobs(db)) == 1


def test_many_schedulers_share_the_work(db: Db, plan: Plan, sessions):
    for n in range(40):
        plan(f"s{n}", next_fire_at=LONG_AGO)
    opened = sessions("a", "b", "c", "d")
    call = "select name, job_id from runledger.fire_due_schedules(10)"
    rows = [row for pending in [s.start(call) for s in opened] for row in pending.result()]
    rows += opened[0].execute("select name, job_id from runledger.fire_due_schedules()")
    assert sorted(r["name"] for r in rows) == sorted(f"s{n}" for n in range(40))
    assert db.value("select count(*) from runledger.job_queue") == 40


def test_a_scheduler_that_comes_back_to_a_rolled_back_fire(db: Db, plan: Plan, sessions):
    plan(next_fire_at=LONG_AGO)
    a, b = sessions("a", "b")
    call = "select scheduled_for from runledger.fire_due_schedules()"
    a.begin().execute(call)
    a.rollback()
    assert b.execute(call) == [{"scheduled_for": LONG_AGO}]


@pytest.mark.parametrize("kind", ["job", "workflow"])
def test_an_instant_does_not_fire_twice_when_the_cursor_goes_back(db: Db, plan: Plan, fire: Fire, q: Ledger, kind: str):
    what = {} if kind == "job" else {"job_type": None, "workflow_type": "w", "steps": STEPS}
    plan(next_fire_at=LONG_AGO, **what)
    [first] = fire()
    q.row("resume_schedule", name="s", next_fire_at=LONG_AGO)
    # Also when it would start something else by now.
    plan(payload={"changed": True}, **what)
    [again] = fire()
    assert (again["disposition"], again["code"]) == ("SKIPPED", "ALREADY_FIRED")
    assert (again["job_id"], again["workflow_run_id"]) == (first["job_id"], first["workflow_run_id"])
    assert again["next_fire_at"] > LONG_AGO
    assert fire() == []
    assert (
        db.value("select count(*) from runledger.workflow_runs")
        + db.value("select count(*) from runledger.job_queue where schedule_id is not null")
        == 1
    )


def test_backfill_from_an_instant_fires_only_what_is_missing(db: Db, plan: Plan, fire: Fire, clock: Clock, q: Ledger):
    due = plan(missed="ALL")["next_fire_at"]
    to(clock, due, late=2 * 3600 + 5)
    assert len(fire()) == 3
    q.row("resume_schedule", name="s", next_fire_at=due - 2 * HOUR)
    assert [(r["scheduled_for"], r["disposition"]) for r in fire()] == [
        (due - 2 * HOUR, "FIRED"), (due - HOUR, "FIRED"), (due, "SKIPPED"), (due + HOUR, "SKIPPED"), (due + 2 * HOUR, "SKIPPED"),
    ]  # fmt: skip


# --- workflows -----------------------------------------------------------------------------------------


def test_a_schedule_starts_a_workflow(db: Db, plan: Plan, fire: Fire, q: Ledger):
    plan(
        job_type=None,
        workflow_type="flow",
        steps=STEPS,
        payload={"n": 1},
        organization_id=TENANT,
        next_fire_at=LONG_AGO,
    )
    [row] = fire()
    run = db.one("select * from runledger.workflow_runs")
    assert (row["workflow_run_id"], row["job_id"], row["disposition"]) == (run["id"], None, "FIRED")
    s = stored(db)
    assert (run["workflow_type"], run["organization_id"], run["steps_total"], run["status"]) == (
        "flow",
        TENANT,
        2,
        "RUNNING",
    )
    about = {"schedule_id": str(s["id"]), "schedule_name": "s", "scheduled_for": "2020-05-01T12:34:56.000000Z"}
    assert run["metadata"] == {"n": 1, "_schedule": about}
    assert run["idempotency_key"] == f"schedule/{s['id']}/2020-05-01T12:34:56.000000Z"
    assert s["next_fire_at"] > LONG_AGO
    assert [c["step_key"] for c in q.claim(5)] == ["a"]


def test_large_workflows_are_left_to_further_calls(db: Db, plan: Plan, fire: Fire, clock: Clock):
    """1000 steps a call: two runs of 400, and at least one of any size."""
    steps = [{"key": f"k{n}", "job_type": "t"} for n in range(400)]
    due = plan(job_type=None, workflow_type="flow", steps=steps, missed="ALL")["next_fire_at"]
    to(clock, due, late=4 * 3600 + 5)
    assert [len(fire()) for _ in range(4)] == [2, 2, 1, 0]
    plan(
        "large",
        job_type=None,
        workflow_type="flow",
        steps=[{"key": f"k{n}", "job_type": "t"} for n in range(1500)],
        next_fire_at=LONG_AGO,
    )
    plan("next", next_fire_at=LONG_AGO + DAY)
    assert [[r["name"] for r in fire()] for _ in range(3)] == [["large"], ["next"], []]


# --- bounds, upkeep, arguments ---------------------------------------------------------------------------


def test_a_call_fires_at_most_so_many_schedules_most_overdue_first(plan: Plan, fire: Fire):
    for n in (3, 1, 5, 2, 4):
        plan(f"s{n}", next_fire_at=LONG_AGO + n * MINUTE)
    assert [[r["name"] for r in fire(2)] for _ in range(4)] == [["s1", "s2"], ["s3", "s4"], ["s5"], []]


def test_arguments_are_checked(q: Ledger):
    for value in (None, 0, -1, 1001):
        with q.refused("job.invalid_limit"):
            q.rows("fire_due_schedules", max_schedules=value)
    for level in ("repeatable read", "serializable"):
        with q.refused("operations.unsupported_isolation"), q.conn.transaction():
            q.conn.execute(f"set transaction isolation level {level}")
            q.rows("fire_due_schedules")


def test_a_burst_of_schedules_is_fired_in_bounded_calls(db: Db, fire: Fire, plan: Plan, clock: Clock):
    """Every second, times a thousand, overdue by a day: 100 a call, each once."""
    plan("s0", "* * * * * *")
    db.execute("""
        insert into runledger.job_schedules (id, name, job_type, cron_expr, next_fire_at, next_base_at, created_at, updated_at)
        select runledger._uuidv7(), 'x' || n, 't', '* * * * * *', '2020-01-01', '2020-01-01', now(), now()
        from generate_series(1, 1000) n""")
    for _ in range(10):
        rows = fire()
        assert len(rows) == 100
        assert {r["disposition"] for r in rows} == {"FIRED"}
    assert db.value("select count(*) from runledger.job_queue where scheduled_for = '2020-01-01'") == 1000


def test_maintenance_fires(db: Db, plan: Plan, q: Ledger):
    def task(name: str) -> tuple[int, bool]:
        return next((r["affected"], r["more"]) for r in q.rows("run_maintenance") if r["task"] == name)

    assert task("fire") == (0, False)
    plan(next_fire_at=LONG_AGO)
    assert task("fire") == (1, False)
    plan("all", "* * * * * *", missed="ALL", next_fire_at=LONG_AGO)
    assert task("fire") == (1000, True)
    assert len(jobs(db)) == 1


def test_idle_workers_are_woken(db: Db, plan: Plan, q: Ledger, fire: Fire):
    plan(next_fire_at=LONG_AGO)
    q.row("register_worker", worker_id="w", job_types=["t"])
    q.row("idle_worker", worker_id="w", until=db.value("select runledger._now() + interval '1 minute'"))
    listener = db.connect()
    listener.execute("listen runledger_wake")
    fire()
    assert [n.payload for n in listener.notifies(timeout=10, stop_after=1)] == [
        db.value("select runledger._wake_key('t')")
    ]


def test_nobody_is_woken_for_what_was_fired_before(db: Db, plan: Plan, q: Ledger, fire: Fire):
    plan(next_fire_at=LONG_AGO)
    fire()
    q.row("register_worker", worker_id="w", job_types=["t"])
    q.row("idle_worker", worker_id="w", until=db.value("select runledger._now() + interval '1 minute'"))
    q.row("resume_schedule", name="s", next_fire_at=LONG_AGO)
    listener = db.connect()
    listener.execute("listen runledger_wake")
    [again] = fire()
    assert (again["disposition"], again["job_id"] is None) == ("SKIPPED", False)
    # Notifications come in the order of their commits.
    q.enqueue()
    assert len([*listener.notifies(timeout=10, stop_after=1), *listener.notifies(timeout=0)]) == 1


def test_the_next_due_instant(db: Db, plan: Plan, q: Ledger):
    def due() -> datetime | None:
        return q.row("next_schedule_at")["next_schedule_at"]

    assert due() is None
    plan("b", next_fire_at=LONG_AGO + DAY)
    plan("a", next_fire_at=LONG_AGO)
    assert due() == LONG_AGO
    db.execute(
        "update runledger.job_schedules set deferred_at = %(at)s, deferred_until = %(at)s, deferred_code = 'x' where name = 'a'",
        {"at": LONG_AGO + 2 * DAY},
    )
    assert due() == LONG_AGO + DAY
