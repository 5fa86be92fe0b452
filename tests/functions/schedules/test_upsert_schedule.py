"""upsert, pause, resume, delete and preview: what they keep, what they change, what they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.functions.schedules.conftest import Plan, stored, to
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger

LONG_AGO = datetime(2020, 5, 1, 12, 34, 56, tzinfo=UTC)
STEPS = [
    {"key": "a", "job_type": "t"},
    {"key": "b", "job_type": "u", "after_success": ["a"]},
    {"key": "g", "external": True},
]


def test_a_new_schedule_is_active_and_fires_next_at_its_cron(db: Db, plan: Plan, q: Ledger):
    row = plan("nightly", "0 3 * * *", timezone="Europe/Berlin", payload={"n": 1}, organization_id=TENANT, missed="ALL")
    expected = q.row("next_fire_at", cron="0 3 * * *", timezone="Europe/Berlin")["next_fire_at"]
    assert row == {"name": "nightly", "disposition": "INSERTED", "next_fire_at": expected, "is_active": True}
    s = stored(db, "nightly")
    assert (s["job_type"], s["organization_id"], s["payload_template"], s["missed"], s["timezone"], s["cron_expr"]) == (
        "t", TENANT, {"n": 1}, "ALL", "Europe/Berlin", "0 3 * * *",
    )  # fmt: skip
    assert (s["next_fire_at"], s["next_base_at"], s["due_at"]) == (expected, expected, expected)
    assert (s["last_fired_at"], s["paused_at"], s["deferred_at"]) == (None, None, None)


def test_an_equal_upsert_writes_nothing(db: Db, plan: Plan):
    for arguments in ({}, {"payload": {"n": 1}, "max_jitter_seconds": 60}, {"missed": "SKIP"}):
        plan(**arguments)
        before = db.one("select xmin, s.* from runledger.job_schedules s")
        assert plan(**arguments)["disposition"] == "UNCHANGED"
        assert db.one("select xmin, s.* from runledger.job_schedules s") == before


def test_an_update_keeps_cursor_tenant_and_pause(db: Db, plan: Plan, q: Ledger):
    q.define("u")
    first = plan(organization_id=TENANT, next_fire_at=LONG_AGO)
    assert first["next_fire_at"] == LONG_AGO
    row = plan(job_type="u", payload=[1], max_jitter_seconds=5, missed="SKIP", organization_id=OTHER_TENANT)
    assert row == {"name": "s", "disposition": "UPDATED", "next_fire_at": LONG_AGO, "is_active": True}
    s = stored(db)
    assert (s["job_type"], s["payload_template"], s["max_jitter_seconds"], s["missed"]) == ("u", [1], 5, "SKIP")
    assert s["organization_id"] == TENANT
    q.row("pause_schedule", name="s", reason="deploy")
    assert plan(payload=[2])["is_active"] is False
    s = stored(db)
    assert (s["is_active"], s["paused_reason"], s["paused_by"] is None) == (False, "deploy", False)
    assert plan(payload=[2], is_active=True)["is_active"] is True
    assert stored(db)["paused_at"] is None


def test_the_same_cron_keeps_the_cursor_and_another_takes_the_one_given(db: Db, plan: Plan, q: Ledger):
    plan(next_fire_at=LONG_AGO)
    assert plan(next_fire_at=LONG_AGO + timedelta(days=1))["next_fire_at"] == LONG_AGO
    later = LONG_AGO + timedelta(days=2)
    assert plan(cron="5 * * * *", next_fire_at=later)["next_fire_at"] == later
    assert (stored(db)["next_fire_at"], stored(db)["next_base_at"]) == (later, later)
    assert plan(cron="6 4 * * *")["next_fire_at"] == q.row("next_fire_at", cron="6 4 * * *")["next_fire_at"]
    at = plan(cron="6 4 * * *", timezone="Asia/Tokyo")["next_fire_at"]
    assert at == q.row("next_fire_at", cron="6 4 * * *", timezone="Asia/Tokyo")["next_fire_at"]


def test_a_change_lifts_a_deferral(db: Db, plan: Plan):
    plan()
    db.execute("update runledger.job_schedules set deferred_at = now(), deferred_until = now(), deferred_code = 'x'")
    plan(payload={"better": True})
    assert stored(db)["deferred_code"] is None


def test_reading_a_schedule_changes_nothing(db: Db, plan: Plan, q: Ledger):
    plan(next_fire_at=LONG_AGO)
    before = db.one("select xmin, s.* from runledger.job_schedules s")
    assert db.one("select * from runledger.schedules")["name"] == "s"
    assert q.rows("preview_schedule", name="s")
    assert q.row("next_schedule_at")["next_schedule_at"] == LONG_AGO
    assert db.one("select xmin, s.* from runledger.job_schedules s") == before


def test_the_view_says_the_state_in_a_word(db: Db, plan: Plan, q: Ledger):
    plan("active")
    plan("overdue", next_fire_at=LONG_AGO)
    plan("inactive", is_active=False)
    plan("paused")
    plan("deferred")
    q.row("pause_schedule", name="paused", reason="no\nneed")
    db.execute(
        "update runledger.job_schedules set deferred_at = now(), deferred_until = now(), deferred_code = 'e.x'"
        " where name = 'deferred'"
    )
    rows = {r["name"]: r for r in db.all("select * from runledger.schedules")}
    assert {name: r["state"] for name, r in rows.items()} == {name: name for name in rows}
    assert (rows["paused"]["note"], rows["deferred"]["note"]) == ("no need", "e.x")
    assert rows["paused"]["due_in"] is None
    listed = {r["name"]: r["state"] for r in q.rows("list_schedules")}
    assert listed == {name: row["state"] for name, row in rows.items()}
    assert rows["overdue"]["due_in"] < timedelta(0) < rows["active"]["due_in"]


# --- refused -----------------------------------------------------------------------------------------

REFUSED = [
    *[({"name": name}, "job_schedule.invalid_name") for name in (None, "", " ", " s", "s ", "s\n", "\ts", "x" * 201, "é" * 101)],
    *[({"cron": cron}, "job_schedule.invalid_cron") for cron in (None, "", " ", " 0 * * * *", "0 * * * * ", "x", "60 * * * *", "*" * 70_000)],
    ({"cron": "0 0 30 2 *"}, "job_schedule.cron_never_fires"),
    *[({"timezone": zone}, "job_schedule.invalid_timezone") for zone in (None, "", "CEST", "Foo/Bar", "Foo/Bar3")],
    *[({"max_jitter_seconds": n}, "job_schedule.invalid_jitter") for n in (None, -1, 86_401, 2**31 - 1)],
    *[({"missed": word}, "job_schedule.invalid_missed") for word in (None, "", "once", "NONE")],
    *[({"next_fire_at": at}, "job_schedule.invalid_instant") for at in ("infinity", "-infinity", "1969-12-31Z", "10000-01-01Z")],
    *[({"job_type": name}, "job_schedule.definition_not_found_or_disabled") for name in ("", " ", "nobody", "x" * 70_000)],
    ({"job_type": "nobody", "is_active": False}, "job_schedule.definition_not_found_or_disabled"),
    ({"job_type": None}, "job_schedule.invalid_target"),
    ({"workflow_type": "w", "steps": STEPS}, "job_schedule.invalid_target"),
    ({"job_type": None, "workflow_type": "w"}, "job_schedule.invalid_target"),
    ({"steps": STEPS}, "job_schedule.invalid_target"),
    ({"job_type": None, "workflow_type": " ", "steps": STEPS}, "workflow.invalid_dag_workflow_type_blank"),
    ({"job_type": None, "workflow_type": "w", "steps": []}, "workflow.invalid_dag_empty"),
    ({"job_type": None, "workflow_type": "w", "steps": STEPS[1:]}, "workflow.invalid_dag_missing_dependency"),
    ({"job_type": None, "workflow_type": "w", "steps": STEPS}, "job_schedule.definition_not_found_or_disabled"),
    ({"job_type": None, "workflow_type": "w", "steps": STEPS[:1], "payload": "x" * 65_450}, "json.too_large"),
    ({"payload": "x" * 262_100}, "json.too_large"),
    ({"payload": json.loads("[" * 65 + "]" * 65)}, "json.too_deep"),
]  # fmt: skip


def test_what_makes_no_sense_is_refused_and_writes_nothing(db: Db, q: Ledger):
    for given, code in REFUSED:
        with q.refused(code):
            q.row("upsert_schedule", **{"name": "s", "job_type": "t", "cron": "@daily", **given})
    assert db.all("select * from runledger.job_schedules") == []


def test_refusals_say_which(db: Db, plan: Plan, q: Ledger):
    """What an error tells beside its code: names, a hundred of them and two hundred letters each at most."""
    steps = [{"key": str(n), "job_type": f"no{n:03}"} for n in range(101)]
    told: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("upsert_schedule", {"job_type": "x" * 201}, {"job_types": ["x" * 200]}),
        ("upsert_schedule", {"job_type": "no", "is_active": False}, {"job_types": ["no"]}),
        ("upsert_schedule", {"job_type": None, "workflow_type": "w", "steps": steps[::-1]}, {"job_types": [s["job_type"] for s in steps[:100]]}),
        ("upsert_schedule", {"job_type": None, "workflow_type": "w", "steps": steps[:1] * 1}, {"job_types": ["no000"]}),
        ("upsert_schedule", {"timezone": "Mars/Olympus"}, {}),
        ("upsert_schedule", {"max_jitter_seconds": 86_401}, {}),
        ("upsert_schedule", {"payload": "x" * 262_145}, {"argument": "payload", "max_bytes": 262_144}),
        *[(verb, {"name": "x" * 201}, {"name": "x" * 200})
          for verb in ("pause_schedule", "resume_schedule", "delete_schedule", "preview_schedule")],
        ("preview_schedule", {"name": "s", "fires": 1001}, {"max_rows": 1001, "max": 1000}),
        ("list_schedules", {"max_rows": 0}, {"max_rows": 0, "max": 1000}),
        ("fire_due_schedules", {"max_schedules": 1001}, {"max_schedules": 1001, "max": 1000}),
    ]  # fmt: skip
    for verb, given, detail in told:
        default = {"name": "s", "job_type": "t", "cron": "@daily"} if verb == "upsert_schedule" else {}
        with pytest.raises(psycopg.Error) as error:
            q.rows(verb, **{**default, **given})
        said = json.loads(error.value.diag.message_detail or "")
        assert said == {"code": said["code"], **detail}, (verb, said)
    for n in range(101):
        plan(f"s{n:03}")
    with q.refused("job_definition.active_schedule_exists") as refusal:
        q.row("disable_job_type", job_type="t")
    assert refusal.detail["schedules"] == [f"s{n:03}" for n in range(100)]
    for bound in ({"max_jitter_seconds": 86_400}, {"name": "n" * 200}, {"next_fire_at": "1970-01-01T00:00:00Z"}):
        assert plan(**{"name": "bound", **bound})["disposition"] in ("INSERTED", "UPDATED")
    for fires in (1, 1000):
        assert len(q.rows("preview_schedule", name="s000", fires=fires)) == fires


def test_a_type_in_use_is_kept_by_active_schedules_of_its_own_only(db: Db, plan: Plan, q: Ledger):
    q.define("u")
    q.define("free")
    plan("of u", job_type="u")
    plan("flow", job_type=None, workflow_type="w", steps=STEPS)
    plan("idle", job_type="free", is_active=False)
    assert q.row("disable_job_type", job_type="free")["is_enabled"] is False
    with q.refused("job_definition.active_schedule_exists") as refusal:
        q.row("disable_job_type", job_type="u")
    assert refusal.detail["schedules"] == ["flow", "of u"]
    with q.refused("job_definition.active_schedule_exists") as refusal:
        q.row("disable_job_type", job_type="t")
    assert refusal.detail["schedules"] == ["flow"]


def test_the_largest_payload_still_fires(db: Db, plan: Plan, q: Ledger):
    """The limit counts _schedule in, so nothing that is accepted fails when it fires."""
    name = "é" * 100
    low, high = 250_000, 262_144
    while high - low > 1:
        middle = (low + high) // 2
        try:
            plan(name, payload={"x": "y" * middle}, next_fire_at=LONG_AGO)
            low = middle
        except psycopg.Error:
            high = middle
    plan(name, payload={"x": "y" * low}, next_fire_at=LONG_AGO)
    [row] = q.rows("fire_due_schedules")
    assert (row["disposition"], row["name"]) == ("FIRED", name)
    assert db.value("select octet_length(payload::text) from runledger.job_queue") > 262_000


def test_a_schedule_that_is_not_there_cannot_be_changed(q: Ledger):
    for verb in ("pause_schedule", "resume_schedule", "delete_schedule", "preview_schedule"):
        for name in (None, "", "nobody", "x" * 70_000):
            with q.refused("job_schedule.not_found", "RL001"):
                q.rows(verb, name=name)


# --- pause, resume, delete ---------------------------------------------------------------------------


def test_pause_and_resume(db: Db, plan: Plan, q: Ledger):
    plan(next_fire_at=LONG_AGO)
    row = q.row("pause_schedule", name="s", reason="deploy")
    assert row == {"name": "s", "disposition": "PAUSED", "next_fire_at": LONG_AGO, "is_active": False}
    paused = stored(db)
    caller = q.conn.execute("select current_user").fetchone()[0]
    assert (paused["paused_reason"], paused["paused_by"], paused["paused_at"] is None) == ("deploy", caller, False)
    assert q.row("pause_schedule", name="s", reason="other")["disposition"] == "UNCHANGED"
    assert stored(db) == paused
    assert q.rows("fire_due_schedules") == []
    assert q.row("next_schedule_at")["next_schedule_at"] is None
    row = q.row("resume_schedule", name="s")
    assert row == {"name": "s", "disposition": "RESUMED", "next_fire_at": LONG_AGO, "is_active": True}
    assert (stored(db)["paused_at"], stored(db)["paused_by"], stored(db)["paused_reason"]) == (None, None, None)
    assert q.row("resume_schedule", name="s")["disposition"] == "UNCHANGED"
    with q.refused("job.invalid_reason"):
        q.row("pause_schedule", name="s", reason=" ")


def test_resume_moves_the_cursor(db: Db, plan: Plan, q: Ledger):
    plan()
    for at in (LONG_AGO, LONG_AGO - timedelta(days=30)):
        assert q.row("resume_schedule", name="s", next_fire_at=at)["next_fire_at"] == at
        assert (stored(db)["next_fire_at"], stored(db)["next_base_at"], stored(db)["is_active"]) == (at, at, True)
    for at in ("infinity", "1969-12-31Z", "10000-01-01Z"):
        with q.refused("job_schedule.invalid_instant"):
            q.row("resume_schedule", name="s", next_fire_at=at)


def test_delete_leaves_what_was_started(db: Db, plan: Plan, q: Ledger):
    plan(next_fire_at=LONG_AGO)
    [fired] = q.rows("fire_due_schedules")
    assert q.row("delete_schedule", name="s")["disposition"] == "DELETED"
    assert db.all("select * from runledger.job_schedules") == []
    assert q.job(fired["job_id"])["status"] == "PENDING"


# --- the guard between definitions and schedules -----------------------------------------------------


def test_a_type_is_not_disabled_under_an_active_schedule(db: Db, plan: Plan, q: Ledger):
    q.define("u")
    plan("b")
    plan("a")
    plan("w", job_type=None, workflow_type="w", steps=STEPS)
    for job_type, names in (("t", ["a", "b", "w"]), ("u", ["w"])):
        for call in ({"function": "disable_job_type"}, {"function": "define_job", "is_enabled": False}):
            with q.refused("job_definition.active_schedule_exists", "RL004") as told:
                q.row(**call, job_type=job_type)
            assert told.detail["schedules"] == names
            assert db.value("select is_enabled from runledger.job_definitions where job_type = %s", [job_type]) is True
    for name in ("a", "b", "w"):
        q.row("pause_schedule", name=name)
    assert q.row("disable_job_type", job_type="t")["is_enabled"] is False
    assert q.row("disable_job_type", job_type="u")["is_enabled"] is False
    for name in ("a", "w"):
        with q.refused("job_schedule.definition_not_found_or_disabled", "RL002"):
            q.row("resume_schedule", name=name)
    with q.refused("job_schedule.definition_not_found_or_disabled"):
        plan("a", is_active=True)
    with q.refused("job_schedule.definition_not_found_or_disabled"):
        plan("new")
    assert plan("new", is_active=False)["disposition"] == "INSERTED"
    assert plan("a", payload={"n": 1})["is_active"] is False
    q.row("enable_job_type", job_type="t")
    assert q.row("resume_schedule", name="a")["disposition"] == "RESUMED"


@pytest.mark.parametrize("first", ["activate", "disable"])
def test_activation_and_disabling_wait_for_each_other(db: Db, plan: Plan, q: Ledger, sessions, first: str):
    plan("s", is_active=False)
    a, b = sessions("a", "b")
    calls = {
        "activate": "select * from runledger.resume_schedule('s')",
        "disable": "select * from runledger.disable_job_type('t')",
    }
    second = "disable" if first == "activate" else "activate"
    a.begin().execute(calls[first])
    waiting = b.start(calls[second])
    assert b.blocked(a)
    a.commit()
    code = {
        "disable": "job_definition.active_schedule_exists",
        "activate": "job_schedule.definition_not_found_or_disabled",
    }
    with q.refused(code[second]):
        waiting.result()
    assert (stored(db)["is_active"], db.value("select is_enabled from runledger.job_definitions")) == (
        (True, True) if first == "activate" else (False, False)
    )


def test_two_who_create_the_same_schedule_meet(db: Db, plan: Plan, sessions):
    a, b = sessions("a", "b")
    call = "select disposition from runledger.upsert_schedule('s', 't', '@daily', payload => %s)"
    a.begin().execute(call, [Jsonb(1)])
    waiting = b.start(call, [Jsonb(2)])
    assert b.blocked(a)
    a.commit()
    assert waiting.result() == [{"disposition": "UPDATED"}]
    assert stored(db)["payload_template"] == 2


# --- preview -----------------------------------------------------------------------------------------


def test_preview_shows_local_times_and_the_changes_of_the_clocks(plan: Plan, q: Ledger, clock: Clock):
    to(clock, datetime(2026, 3, 27, 12, tzinfo=UTC))
    plan("fixed", "30 2 * * *", timezone="Europe/Berlin")
    rows = q.rows("preview_schedule", name="fixed", fires=3)
    assert [(r["local_time"], r["utc_offset"], r["note"]) for r in rows] == [
        ("Sat 2026-03-28 02:30:00", "+01:00", None),
        ("Sun 2026-03-29 03:00:00", "+02:00", "first instant after skipped local times"),
        ("Mon 2026-03-30 02:30:00", "+02:00", None),
    ]
    plan("real", "30 * * * *", timezone="America/St_Johns", missed="ALL", next_fire_at="2026-11-01T03:00Z")
    assert [
        (r["local_time"][-8:], r["utc_offset"], r["note"]) for r in q.rows("preview_schedule", name="real", fires=4)
    ] == [
        ("00:30:00", "-02:30", None),
        ("01:30:00", "-02:30", "repeated local time, first pass"),
        ("01:30:00", "-03:30", "repeated local time, second pass"),
        ("02:30:00", "-03:30", None),
    ]


def test_preview_is_what_fires(db: Db, plan: Plan, q: Ledger, clock: Clock):
    """Every instant of the preview, with jitter, is the scheduled_for of a job when its time has come."""
    plan(cron="*/7 * * * *", max_jitter_seconds=300)
    promised = [r["fires_at"] for r in q.rows("preview_schedule", name="s", fires=20)]
    assert promised == sorted(set(promised))
    fired = []
    for at in promised:
        to(clock, at, late=-30)
        assert q.rows("fire_due_schedules") == []
        to(clock, at, late=1)
        fired += [r["scheduled_for"] for r in q.rows("fire_due_schedules")]
    assert fired == promised


def test_preview_is_bounded(plan: Plan, q: Ledger):
    plan(cron="* * * * * *")
    assert len(q.rows("preview_schedule", name="s", fires=1000)) == 1000
    for fires in (None, 0, -1, 1001):
        with q.refused("job.invalid_pagination"):
            q.rows("preview_schedule", name="s", fires=fires)
