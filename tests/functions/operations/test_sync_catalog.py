"""sync_catalog: what is listed is there, what is listed no more is off, and what an operator did stays."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.ledger import OTHER_TENANT, TENANT, Ledger, Raw

LONG_AGO = datetime(2020, 5, 1, 12, 34, 56, tzinfo=UTC)
A, B = {"job_type": "a"}, {"job_type": "b"}
NIGHTLY = {"name": "nightly", "job_type": "a", "cron": "0 3 * * *"}
STEPS = [{"key": "one", "job_type": "a"}, {"key": "two", "job_type": "b", "after_success": ["one"]}]
FLOW = {"name": "flow", "workflow_type": "w", "steps": STEPS, "cron": "@daily"}
Sync = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def q(db: Db) -> Ledger:
    """With nothing defined."""
    return Ledger(db)


def contents(db: Db) -> list[dict[str, Any]]:
    return [
        *db.all("select xmin, d.* from runledger.job_definitions d order by job_type"),
        *db.all("select xmin, s.* from runledger.job_schedules s order by name"),
    ]


@pytest.fixture
def sync(db: Db, q: Ledger) -> Iterator[Sync]:
    """sync(definitions, schedules) -> rows by name. Each time a dry run goes before, writes nothing and tells the same."""

    def call(*lists: Any, catalog: str = "billing", strict: bool = False) -> dict[str, dict[str, Any]]:
        arguments = dict(zip(("definitions", "schedules"), lists, strict=False))
        before = contents(db)
        told = q.rows("sync_catalog", catalog=catalog, **arguments, dry_run=True, strict=strict)
        assert contents(db) == before
        rows = q.rows("sync_catalog", catalog=catalog, **arguments, strict=strict)
        assert rows == told
        assert [(r["kind"], r["name"]) for r in rows] == sorted((r["kind"], r["name"]) for r in rows)
        assert all((r["action"] == "REFUSED") == (r["code"] is not None) for r in rows)
        if all(r["action"] == "REFUSED" for r in rows):
            assert contents(db) == before
        return {r["name"]: r for r in rows}

    yield call
    db.execute("update runledger.job_schedules set is_active = false")


def actions(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: row["code"] or row["action"] for name, row in rows.items()}


def definition(db: Db, job_type: str = "a") -> dict[str, Any]:
    return db.one("select * from runledger.job_definitions where job_type = %s", [job_type])


def schedule(db: Db, name: str = "nightly") -> dict[str, Any]:
    return db.one("select * from runledger.job_schedules where name = %s", [name])


# --- what is listed ----------------------------------------------------------------------------------


def test_what_is_listed_is_made(db: Db, sync: Sync):
    rows = sync(
        [
            {
                "job_type": "a", "version": 2, "max_attempts": 3, "timeout_seconds": 60, "priority": -5, "max_concurrency": 4,
                "retry_base_ms": 100, "retry_max_ms": 200, "retry_delays_ms": {"busy": 7},
            },
            B,
        ],
        [
            {
                **NIGHTLY, "timezone": "Europe/Berlin", "payload": {"n": None}, "organization_id": str(TENANT),
                "max_jitter_seconds": 9, "missed": "ALL",
            },
            {**FLOW, "is_active": False, "next_fire_at": LONG_AGO.isoformat()},
        ],
    )  # fmt: skip
    assert actions(rows) == {"a": "INSERTED", "b": "INSERTED", "flow": "INSERTED", "nightly": "INSERTED"}
    assert [row["kind"] for row in rows.values()] == ["JOB_TYPE", "JOB_TYPE", "SCHEDULE", "SCHEDULE"]
    assert all(row["changes"] == {} for row in rows.values())
    d = definition(db)
    assert (d["version"], d["max_attempts"], d["default_timeout_seconds"], d["default_priority"]) == (2, 3, 60, -5)
    assert (d["max_concurrency"], d["retry_base_ms"], d["retry_max_ms"], d["retry_delays_ms"]) == (
        4,
        100,
        200,
        {"busy": 7},
    )
    assert (d["is_enabled"], d["catalog"], d["absent_at"]) == (True, "billing", None)
    s = schedule(db)
    assert (s["job_type"], s["cron_expr"], s["timezone"], s["missed"]) == ("a", "0 3 * * *", "Europe/Berlin", "ALL")
    assert (s["payload_template"], s["organization_id"], s["max_jitter_seconds"]) == ({"n": None}, TENANT, 9)
    assert (s["is_active"], s["catalog"], s["absent_at"]) == (True, "billing", None)
    s = schedule(db, "flow")
    assert (s["workflow_type"], s["workflow_steps"], s["is_active"], s["next_fire_at"]) == ("w", STEPS, False, LONG_AGO)
    assert s["paused_at"] is None


def test_what_is_left_out_is_what_the_single_verbs_would_make_of_it(db: Db, q: Ledger, sync: Sync):
    q.define("like")
    q.define("slow", retry_base_ms=400_000)
    q.row("upsert_schedule", name="like", job_type="like", cron="@daily")
    sync([A, {"job_type": "b", "retry_base_ms": 400_000}], [{**NIGHTLY, "cron": "@daily"}])
    own = {"job_type", "id", "name", "catalog", "created_at", "updated_at"}

    def settings(row: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key not in own}

    assert settings(definition(db)) == settings(definition(db, "like"))
    assert settings(definition(db, "b")) == settings(definition(db, "slow"))
    assert settings(schedule(db)) == settings(schedule(db, "like"))


def test_an_equal_sync_writes_nothing(db: Db, sync: Sync):
    lists = (
        [A, {"job_type": "b", "max_concurrency": 0, "retry_delays_ms": {"x": 1}}],
        [NIGHTLY, {**FLOW, "max_jitter_seconds": 60}],
    )
    sync(*lists)
    before = contents(db)
    assert set(actions(sync(*lists)).values()) == {"UNCHANGED"}
    assert contents(db) == before


def test_a_change_tells_old_and_new_and_no_payload(db: Db, sync: Sync):
    sync([{**A, "max_concurrency": 2}, B], [{**NIGHTLY, "payload": {"secret": 1}}, FLOW])
    rows = sync(
        [{**A, "priority": 7}, B],
        [
            {**NIGHTLY, "payload": {"secret": 2}, "cron": "0 4 * * *", "organization_id": str(OTHER_TENANT)},
            {**FLOW, "steps": STEPS[:1]},
        ],
    )
    assert actions(rows) == {"a": "UPDATED", "b": "UNCHANGED", "flow": "UPDATED", "nightly": "UPDATED"}
    assert rows["a"]["changes"] == {"max_concurrency": {"old": 2, "new": None}, "priority": {"old": 100, "new": 7}}
    assert rows["flow"]["changes"] == {"steps": {}}
    assert rows["nightly"]["changes"] == {
        "payload": {}, "cron": {"old": "0 3 * * *", "new": "0 4 * * *"},
        "organization_id": {"old": None, "new": str(OTHER_TENANT)},
    }  # fmt: skip
    assert (definition(db)["max_concurrency"], definition(db)["default_priority"]) == (None, 7)
    assert (schedule(db)["payload_template"], schedule(db)["organization_id"]) == ({"secret": 2}, OTHER_TENANT)


def test_the_cursor_stays_unless_cron_or_zone_change(db: Db, q: Ledger, sync: Sync):
    at = {"next_fire_at": LONG_AGO.isoformat()}
    sync([A], [{**NIGHTLY, **at}])
    for change in ({"payload": 1}, {"missed": "ALL"}, {"next_fire_at": "2021-01-01T00:00:00Z"}):
        sync([A], [{**NIGHTLY, **change}])
        assert (schedule(db)["next_fire_at"], schedule(db)["next_base_at"]) == (LONG_AGO, LONG_AGO)
    sync([A], [{**NIGHTLY, "timezone": "Asia/Tokyo"}])
    expected = q.row("next_fire_at", cron="0 3 * * *", timezone="Asia/Tokyo")["next_fire_at"]
    assert (schedule(db)["next_fire_at"], schedule(db)["next_base_at"]) == (expected, expected)
    sync([A], [{**NIGHTLY, "cron": "0 4 * * *", **at}])
    assert schedule(db)["next_fire_at"] == LONG_AGO


def test_a_change_lifts_a_deferral(db: Db, sync: Sync):
    sync([A], [NIGHTLY])
    db.execute("update runledger.job_schedules set deferred_at = now(), deferred_until = now(), deferred_code = 'x'")
    sync([A], [{**NIGHTLY, "payload": 1}])
    assert schedule(db)["deferred_code"] is None


def test_a_schedule_that_is_defined_inactive_is_switched_by_its_definition(db: Db, sync: Sync):
    sync([A], [{**NIGHTLY, "is_active": False}])
    rows = sync([A], [NIGHTLY])
    assert rows["nightly"]["changes"] == {"is_active": {"old": False, "new": True}}
    assert schedule(db)["is_active"] is True
    sync([A], [{**NIGHTLY, "is_active": False}])
    assert (schedule(db)["is_active"], schedule(db)["paused_at"]) == (False, None)


# --- what is listed no more --------------------------------------------------------------------------


def test_what_is_listed_no_more_is_switched_off_and_restored_when_it_returns(
    db: Db, q: Ledger, sync: Sync, clock: Clock
):
    sync([A, B], [{**NIGHTLY, "missed": "ALL"}, FLOW])
    rows = sync([B], [])
    assert actions(rows) == {"a": "DISABLED", "b": "UNCHANGED", "flow": "PAUSED", "nightly": "PAUSED"}
    off = {"is_listed": {"old": True, "new": False}}
    assert rows["a"]["changes"] == off | {"is_enabled": {"old": True, "new": False}}
    assert rows["nightly"]["changes"] == off | {"is_active": {"old": True, "new": False}}
    d, s = definition(db), schedule(db)
    caller = q.conn.execute("select current_user").fetchone()[0]
    assert (d["is_enabled"], d["disabled_by"], d["disabled_reason"]) == (
        False,
        caller,
        "no longer listed by catalog billing",
    )
    assert (s["is_active"], s["paused_by"], s["paused_reason"]) == (
        False,
        caller,
        "no longer listed by catalog billing",
    )
    assert d["absent_at"] == d["disabled_at"] == s["absent_at"] == s["paused_at"]
    with q.refused("job.definition_not_found_or_disabled"):
        q.enqueue("a")
    assert actions(sync([B], [])) == {"b": "UNCHANGED"}
    clock.advance(timedelta(days=30).total_seconds())
    rows = sync([A, B], [{**NIGHTLY, "missed": "ALL"}, FLOW])
    assert actions(rows) == {"a": "RESTORED", "b": "UNCHANGED", "flow": "RESTORED", "nightly": "RESTORED"}
    assert rows["a"]["changes"] == {
        "is_listed": {"old": False, "new": True}, "is_enabled": {"old": False, "new": True},
    }  # fmt: skip
    d, s = definition(db), schedule(db)
    assert (d["is_enabled"], d["absent_at"], d["disabled_at"], d["disabled_reason"]) == (True, None, None, None)
    assert (s["is_active"], s["absent_at"], s["paused_at"], s["paused_reason"]) == (True, None, None, None)
    assert s["next_fire_at"] > clock.now(), "it was not to fire meanwhile, so nothing was missed"


def test_all_may_be_taken_out(db: Db, sync: Sync):
    sync([A], [NIGHTLY])
    assert actions(sync([], [])) == {"a": "DISABLED", "nightly": "PAUSED"}
    assert actions(sync([], [])) == {}
    assert actions(sync([A])) == {"a": "RESTORED"}
    assert actions(sync([A], [NIGHTLY])) == {"a": "UNCHANGED", "nightly": "RESTORED"}


def test_only_what_the_catalog_listed_is_switched_off(db: Db, q: Ledger, sync: Sync):
    q.define("free")
    q.row("upsert_schedule", name="free", job_type="free", cron="@daily")
    sync([B], [], catalog="other")
    sync([A], [])
    assert actions(sync([], [])) == {"a": "DISABLED"}
    assert (definition(db, "free")["is_enabled"], definition(db, "b")["is_enabled"], schedule(db, "free")["is_active"]) == (
        True, True, True,
    )  # fmt: skip


def test_a_type_stays_while_an_active_schedule_uses_it(db: Db, q: Ledger, sync: Sync):
    sync([A, B], [])
    q.row("upsert_schedule", name="outside", job_type=None, workflow_type="w", steps=STEPS, cron="@daily")
    code = "job_definition.active_schedule_exists"
    for _ in range(2):
        assert actions(sync([], [])) == {"a": code, "b": code}
        assert (definition(db)["is_enabled"], definition(db)["absent_at"]) == (True, None)
    q.row("pause_schedule", name="outside")
    assert actions(sync([], [])) == {"a": "DISABLED", "b": "DISABLED"}
    with q.refused("job_schedule.definition_not_found_or_disabled"):
        q.row("resume_schedule", name="outside")


def test_the_schedules_of_the_same_sync_count_as_they_will_be(db: Db, sync: Sync):
    sync([A, B], [NIGHTLY])
    assert actions(sync([B], [NIGHTLY])) == {
        "a": "job_definition.active_schedule_exists", "b": "UNCHANGED", "nightly": "UNCHANGED",
    }  # fmt: skip
    rows = sync([B], [{**NIGHTLY, "job_type": "b"}])
    assert actions(rows) == {"a": "DISABLED", "b": "UNCHANGED", "nightly": "UPDATED"}
    assert actions(sync([A], [{**NIGHTLY, "job_type": "b", "is_active": False}])) == {
        "a": "RESTORED", "b": "DISABLED", "nightly": "UPDATED",
    }  # fmt: skip
    # A refused entry stays as it is, so what it uses is used.
    assert actions(sync([A], [NIGHTLY])) == {"a": "UNCHANGED", "nightly": "UPDATED"}
    assert actions(sync([], [{**NIGHTLY, "cron": "x"}])) == {
        "a": "job_definition.active_schedule_exists", "nightly": "job_schedule.invalid_cron",
    }  # fmt: skip


def test_a_hand_edited_schedule_is_in_nobodys_way(db: Db, q: Ledger, sync: Sync):
    sync([A, B], [FLOW])
    db.execute("update runledger.job_schedules set workflow_steps = '7'")
    assert actions(sync([A], [])) == {"a": "UNCHANGED", "b": "DISABLED", "flow": "PAUSED"}


# --- what an operator did ----------------------------------------------------------------------------


def test_what_an_operator_switched_off_stays_off(db: Db, q: Ledger, sync: Sync):
    sync([A, B], [NIGHTLY])
    q.row("pause_schedule", name="nightly", reason="deploy")
    q.row("disable_job_type", job_type="a", reason="broken")
    q.row("pause_job_type", job_type="b", reason="slow")
    before = contents(db)
    assert actions(sync([A, B], [NIGHTLY])) == {"a": "UNCHANGED", "b": "UNCHANGED", "nightly": "UNCHANGED"}
    assert contents(db) == before
    assert actions(sync([{**A, "priority": 1}, B], [{**NIGHTLY, "payload": 1}])) == {
        "a": "UPDATED", "b": "UNCHANGED", "nightly": "UPDATED",
    }  # fmt: skip

    def check() -> None:
        d, s = definition(db), schedule(db)
        assert (d["is_enabled"], d["disabled_reason"], d["disabled_by"] is None) == (False, "broken", False)
        assert (s["is_active"], s["paused_reason"], s["paused_by"] is None) == (False, "deploy", False)
        assert (definition(db, "b")["is_paused"], definition(db, "b")["paused_reason"]) == (True, "slow")

    check()
    rows = sync([B], [])
    assert actions(rows) == {"a": "UPDATED", "b": "UNCHANGED", "nightly": "UPDATED"}
    assert rows["a"]["changes"] == rows["nightly"]["changes"] == {"is_listed": {"old": True, "new": False}}
    check()
    rows = sync([{**A, "priority": 1}, B], [{**NIGHTLY, "payload": 1}])
    assert rows["a"]["changes"] == rows["nightly"]["changes"] == {"is_listed": {"old": False, "new": True}}
    check()


def test_an_operator_has_the_last_word_on_what_a_sync_switched_off(db: Db, q: Ledger, sync: Sync):
    sync([A, B], [NIGHTLY])
    sync([B], [])
    assert q.row("pause_schedule", name="nightly", reason="really not")["disposition"] == "PAUSED"
    q.row("disable_job_type", job_type="a", reason="really not")
    assert q.row("pause_schedule", name="nightly", reason="again")["disposition"] == "UNCHANGED"
    q.row("disable_job_type", job_type="a", reason="again")
    assert (schedule(db)["paused_reason"], definition(db)["disabled_reason"]) == ("really not", "really not")
    assert actions(sync([A, B], [NIGHTLY])) == {"a": "UPDATED", "b": "UNCHANGED", "nightly": "UPDATED"}
    assert (schedule(db)["is_active"], definition(db)["is_enabled"]) == (False, False)


def test_what_an_operator_switched_on_again_stays_on(db: Db, q: Ledger, sync: Sync):
    sync([A, B], [NIGHTLY])
    sync([B], [])
    q.row("enable_job_type", job_type="a")
    q.row("resume_schedule", name="nightly")
    assert actions(sync([B], [])) == {"b": "UNCHANGED"}
    assert (schedule(db)["is_active"], definition(db)["is_enabled"]) == (True, True)
    assert actions(sync([A, B], [NIGHTLY])) == {"a": "UPDATED", "b": "UNCHANGED", "nightly": "UPDATED"}
    assert (schedule(db)["absent_at"], definition(db)["absent_at"]) == (None, None)


def test_a_schedule_of_a_type_that_an_operator_disabled(db: Db, q: Ledger, sync: Sync):
    sync([A], [])
    q.row("disable_job_type", job_type="a")
    code = "job_schedule.definition_not_found_or_disabled"
    assert actions(sync([A], [NIGHTLY])) == {"a": "UNCHANGED", "nightly": code}
    assert db.all("select * from runledger.job_schedules") == []
    assert actions(sync([A], [{**NIGHTLY, "is_active": False}])) == {"a": "UNCHANGED", "nightly": "INSERTED"}
    assert actions(sync([A], [NIGHTLY])) == {"a": "UNCHANGED", "nightly": code}
    q.row("pause_schedule", name="nightly")
    q.row("enable_job_type", job_type="a")
    assert actions(sync([A], [NIGHTLY]))["nightly"] == "UPDATED"


# --- several catalogs --------------------------------------------------------------------------------


def test_what_another_catalog_lists_is_refused_and_nothing_else_lost(db: Db, sync: Sync):
    sync([A], [NIGHTLY], catalog="other")
    rows = sync([{**A, "priority": 1}, B], [{**NIGHTLY, "cron": "@daily"}, FLOW])
    assert actions(rows) == {
        "a": "job_definition.owned_by_another_catalog", "b": "INSERTED",
        "flow": "INSERTED", "nightly": "job_schedule.owned_by_another_catalog",
    }  # fmt: skip
    assert (definition(db)["catalog"], definition(db)["default_priority"]) == ("other", 100)
    assert (schedule(db)["catalog"], schedule(db)["cron_expr"]) == ("other", "0 3 * * *")


def test_an_entry_moves_once_its_catalog_has_let_it_go(db: Db, sync: Sync):
    sync([A, B], [NIGHTLY], catalog="other")
    sync([B], [], catalog="other")
    rows = sync([A], [NIGHTLY])
    assert actions(rows) == {"a": "RESTORED", "nightly": "RESTORED"}
    assert rows["a"]["changes"]["catalog"] == {"old": "other", "new": "billing"}
    assert (definition(db)["catalog"], schedule(db)["catalog"]) == ("billing", "billing")
    assert actions(sync([B], [], catalog="other")) == {"b": "UNCHANGED"}
    assert actions(sync([A, B], [], catalog="other")) == {
        "a": "job_definition.owned_by_another_catalog",
        "b": "UNCHANGED",
    }


def test_what_is_nobodys_is_taken_over(db: Db, q: Ledger, sync: Sync):
    q.define("a", max_attempts=5)
    q.row("upsert_schedule", name="nightly", job_type="a", cron="0 3 * * *")
    q.row("pause_schedule", name="nightly", reason="deploy")
    rows = sync([{**A, "max_attempts": 5}], [NIGHTLY])
    assert actions(rows) == {"a": "UPDATED", "nightly": "UPDATED"}
    assert rows["a"]["changes"] == rows["nightly"]["changes"] == {"catalog": {"old": None, "new": "billing"}}
    assert schedule(db)["paused_reason"] == "deploy"
    assert actions(sync([], [])) == {"a": "DISABLED", "nightly": "UPDATED"}


def test_a_schedule_may_use_a_type_of_nobody_or_of_another_catalog(db: Db, q: Ledger, sync: Sync):
    q.define("a")
    sync([B], [], catalog="other")
    assert actions(sync([], [NIGHTLY, FLOW])) == {"flow": "INSERTED", "nightly": "INSERTED"}
    assert actions(sync([], [], catalog="other")) == {"b": "job_definition.active_schedule_exists"}


# --- what makes no sense -----------------------------------------------------------------------------

BAD_TYPES = [
    ({"is_enabled": False}, "job.unknown_field"),
    ({"max_attemps": 3}, "job.unknown_field"),
    *[({"version": v}, "job_definition.invalid_version") for v in (0, -1, "3", 1.5, [], 2**31)],
    *[({"max_attempts": v}, "job.invalid_max_attempts") for v in (0, 10_001, "3", True)],
    *[({"timeout_seconds": v}, "job.invalid_timeout") for v in (0, 2_592_001, {}, 0.5)],
    *[({"priority": v}, "job.invalid_priority") for v in ("1", 2**31, [])],
    *[({"max_concurrency": v}, "job_definition.invalid_max_concurrency") for v in (-1, 100_001, "x")],
    *[({"retry_base_ms": v}, "job_definition.invalid_retry_policy") for v in (0, -1, "x", 1.5)],
    *[({"retry_max_ms": v}, "job_definition.invalid_retry_policy") for v in (0, 4999, [])],
    *[
        ({"retry_delays_ms": v}, "job_definition.invalid_retry_policy")
        for v in (1, [], {"x": 0}, {"x": "1"}, {"x": None}, {"x": 1.5})
    ],
    ({"retry_delays_ms": {"x": "y" * 70_000}}, "json.too_large"),
]
BAD_SCHEDULES = [
    ({"steps_": []}, "job.unknown_field"),
    *[({"cron": v}, "job_schedule.invalid_cron") for v in (None, "", "x", " 0 * * * *", 7, [], "*" * 70_000)],
    ({"cron": "0 0 30 2 *"}, "job_schedule.cron_never_fires"),
    *[({"timezone": v}, "job_schedule.invalid_timezone") for v in ("", "CEST", "Foo/Bar", 1, [])],
    *[({"max_jitter_seconds": v}, "job_schedule.invalid_jitter") for v in (-1, 86_401, "1", 1.5)],
    *[({"missed": v}, "job_schedule.invalid_missed") for v in ("", "once", 1)],
    *[({"next_fire_at": v}, "job_schedule.invalid_instant") for v in ("infinity", "1969-12-31T00:00:00Z", "x", 1, "2030-01-01")],
    *[({"organization_id": v}, "job.invalid_organization_id") for v in ("x", 1)],
    *[({"is_active": v}, "job.invalid_item") for v in ("true", 1)],
    *[({"job_type": v}, "job_schedule.invalid_target") for v in (None, 1, [])],
    ({"workflow_type": "w", "steps": STEPS}, "job_schedule.invalid_target"),
    *[({"job_type": v}, "job_schedule.definition_not_found_or_disabled") for v in ("", "nobody", "x" * 300)],
    ({"job_type": "nobody", "is_active": False}, "job_schedule.definition_not_found_or_disabled"),
    ({"job_type": None, "workflow_type": "w", "steps": []}, "workflow.invalid_dag_empty"),
    ({"job_type": None, "workflow_type": "w", "steps": 7}, "workflow.invalid_dag_empty"),
    ({"job_type": None, "workflow_type": "w", "steps": STEPS[1:]}, "workflow.invalid_dag_missing_dependency"),
    ({"job_type": None, "workflow_type": "w", "steps": [{"key": "x", "job_type": "nobody"}]}, "job_schedule.definition_not_found_or_disabled"),
    ({"payload": "x" * 262_144}, "json.too_large"),
]  # fmt: skip


def test_an_entry_that_makes_no_sense_is_refused_alone(db: Db, q: Ledger, sync: Sync):
    types = [{"job_type": f"t{n}", **bad} for n, (bad, _) in enumerate(BAD_TYPES)]
    schedules = [{**NIGHTLY, "name": f"s{n}", **bad} for n, (bad, _) in enumerate(BAD_SCHEDULES)]
    rows = sync([A, *types, B], [NIGHTLY, *schedules, FLOW])
    expected = {
        **{f"t{n}": code for n, (_, code) in enumerate(BAD_TYPES)},
        **{f"s{n}": code for n, (_, code) in enumerate(BAD_SCHEDULES)},
        **dict.fromkeys(("a", "b", "nightly", "flow"), "INSERTED"),
    }
    assert actions(rows) == expected
    assert db.column("select job_type from runledger.job_definitions order by 1") == ["a", "b"]
    assert db.column("select name from runledger.job_schedules order by 1") == ["flow", "nightly"]


def test_what_is_refused_stays_as_it_was_and_is_not_absent(db: Db, sync: Sync):
    sync([A, B], [NIGHTLY])
    before = contents(db)
    rows = sync([{**A, "max_attempts": 0}, {**B, "version": 0}], [{**NIGHTLY, "cron": "x"}])
    assert set(actions(rows).values()) == {
        "job.invalid_max_attempts", "job_definition.invalid_version", "job_schedule.invalid_cron",
    }  # fmt: skip
    assert contents(db) == before


def test_strict_raises_the_first_refusal_and_writes_nothing(db: Db, q: Ledger, sync: Sync):
    for dry_run in (True, False):
        with q.refused("workflow.invalid_dag_empty") as told:
            q.rows(
                "sync_catalog", catalog="billing", definitions=[A], schedules=[{**NIGHTLY, "cron": "x"}, {**FLOW, "steps": []}],
                strict=True, dry_run=dry_run,
            )  # fmt: skip
        assert (told.detail["kind"], told.detail["name"]) == ("SCHEDULE", "flow")
        assert contents(db) == []
    assert actions(sync([A], [NIGHTLY], strict=True)) == {"a": "INSERTED", "nightly": "INSERTED"}


WHOLE = [
    *[({"catalog": v}, "catalog.invalid_name") for v in (None, "", " ", "x ", "\tx", "x" * 201)],
    *[({"definitions": v}, "job.invalid_batch") for v in (None, {}, 1, "x")],
    *[({"schedules": v}, "job.invalid_batch") for v in (None, {}, 1)],
    ({"definitions": [{"job_type": str(n)} for n in range(1001)]}, "catalog.too_large"),
    ({"schedules": [{"name": str(n)} for n in range(1001)]}, "catalog.too_large"),
    *[({"definitions": [A, v]}, "job.invalid_item") for v in (None, 1, "b", [])],
    *[({"schedules": [NIGHTLY, v]}, "job.invalid_item") for v in (None, 1, "b", [])],
    *[({"definitions": [A, v]}, "job.invalid_job_type") for v in ({}, {"job_type": None}, {"job_type": 1}, {"job_type": " "}, {"job_type": "x" * 201})],
    *[({"schedules": [NIGHTLY, v]}, "job_schedule.invalid_name") for v in ({}, {"name": None}, {"name": 1}, {"name": " "}, {"name": "x "})],
    ({"definitions": [A, B, {**A, "priority": 1}]}, "catalog.duplicate_name"),
    ({"schedules": [NIGHTLY, FLOW, NIGHTLY]}, "catalog.duplicate_name"),
    ({"definitions": [], "schedules": []}, "catalog.empty"),
    ({"definitions": Raw('[{"job_type": "a"}, {"job_type": "\\u00e9' + "x" * 200 + '"}]')}, "job.invalid_job_type"),
]  # fmt: skip


def test_a_list_of_which_it_is_not_clear_what_it_lists_is_an_error(db: Db, q: Ledger):
    for given, code in WHOLE:
        for dry_run in (True, False):
            with q.refused(code):
                q.rows(
                    "sync_catalog",
                    **{"catalog": "billing", "definitions": [A], "schedules": [], "dry_run": dry_run, **given},
                )
    with q.refused("catalog.duplicate_name") as told:
        q.rows("sync_catalog", catalog="billing", definitions=[A], schedules=[NIGHTLY, FLOW, NIGHTLY])
    assert (told.detail["kind"], told.detail["ordinal"]) == ("SCHEDULE", 3)
    assert contents(db) == []


def test_a_null_for_dry_run_is_a_dry_run(db: Db, q: Ledger):
    assert [r["action"] for r in q.rows("sync_catalog", catalog="billing", definitions=[A], dry_run=None)] == [
        "INSERTED"
    ]
    assert contents(db) == []


def test_above_read_committed_only_a_dry_run(db: Db, q: Ledger):
    for level in ("repeatable read", "serializable"):
        conn = db.connect(autocommit=False)
        conn.execute(f"set session characteristics as transaction isolation level {level}")
        conn.commit()
        other = q.on(conn)
        assert len(other.rows("sync_catalog", catalog="billing", definitions=[A], dry_run=True)) == 1
        with other.refused("catalog.unsupported_isolation", "RL013"):
            other.rows("sync_catalog", catalog="billing", definitions=[A])
        conn.rollback()


def test_the_settings_of_the_caller_are_put_back(db: Db, q: Ledger):
    """Large templates are planned otherwise, and locks are waited for with a bound: both end with the call."""
    steps = [{"key": str(n), "job_type": "a"} for n in range(200)]
    settings = ("lock_timeout", "plan_cache_mode", "enable_nestloop")
    conn = db.connect(autocommit=False)
    other = q.on(conn)
    session = [conn.execute(f"show {name}").fetchone() for name in settings]
    for mine in ("0", "3s", "1h"):
        conn.execute("select set_config('lock_timeout', %s, true)", [mine])
        before = [conn.execute(f"show {name}").fetchone() for name in settings]
        other.rows("sync_catalog", catalog="billing", definitions=[A], schedules=[{**FLOW, "steps": steps}])
        other.row("upsert_schedule", name="s", job_type=None, workflow_type="w", steps=steps, cron="@daily")
        assert [conn.execute(f"show {name}").fetchone() for name in settings] == before
        conn.commit()
        assert [conn.execute(f"show {name}").fetchone() for name in settings] == session
    conn.rollback()
    db.execute("update runledger.job_schedules set is_active = false")


def test_what_a_sync_did_is_recorded_once(db: Db, q: Ledger, sync: Sync):
    sync([A, B], [NIGHTLY])
    sync([A, B], [NIGHTLY])
    sync([A], [{**NIGHTLY, "cron": "x"}])
    rows = db.all("select action, object, detail from runledger.operator_actions order by id")
    assert [(r["action"], r["object"]) for r in rows] == [("sync_catalog", "billing")] * 2
    assert [r["detail"] for r in rows] == [{"INSERTED": 3}, {"UNCHANGED": 1, "DISABLED": 1, "REFUSED": 1}]


def test_a_large_catalog_is_synced(db: Db, sync: Sync):
    types = [{"job_type": f"t{n}"} for n in range(1000)]
    schedules = [{"name": f"s{n}", "job_type": f"t{n}", "cron": "@daily"} for n in range(1000)]
    assert set(actions(sync(types, schedules)).values()) == {"INSERTED"}
    rows = sync(types[:500], schedules[:500])
    assert sorted(r["action"] for r in rows.values()) == ["DISABLED"] * 500 + ["PAUSED"] * 500 + ["UNCHANGED"] * 1000


# --- beside others -----------------------------------------------------------------------------------


def test_what_is_due_while_a_sync_is_open_is_fired_after_it(db: Db, q: Ledger, sync: Sync, sessions):
    sync([A], [{**NIGHTLY, "next_fire_at": LONG_AGO.isoformat()}])
    (a,) = sessions("a")
    a.begin()
    a.execute(
        'select runledger.sync_catalog(\'billing\', \'[{"job_type": "a"}]\', \'[{"name": "nightly", "job_type": "a", "cron": "0 3 * * *"}]\')'
    )
    assert q.rows("fire_due_schedules") == []
    a.commit()
    [fired] = q.rows("fire_due_schedules")
    assert (fired["name"], fired["disposition"]) == ("nightly", "FIRED")


def test_a_sync_waits_for_a_fire_and_keeps_its_cursor(db: Db, q: Ledger, sync: Sync, sessions):
    sync([A], [{**NIGHTLY, "next_fire_at": LONG_AGO.isoformat()}])
    a, b = sessions("a", "b")
    a.begin().execute("select * from runledger.fire_due_schedules()")
    waiting = b.start(
        "select name, action from runledger.sync_catalog('billing', '[{\"job_type\": \"a\"}]',"
        ' \'[{"name": "nightly", "job_type": "a", "cron": "0 3 * * *", "payload": 7}]\')'
    )
    assert b.blocked(a)
    a.commit()
    assert waiting.result() == [{"name": "a", "action": "UNCHANGED"}, {"name": "nightly", "action": "UPDATED"}]
    assert schedule(db)["next_fire_at"] > datetime.now(UTC)
    assert schedule(db)["last_fired_at"] is not None


EMPTY = "select name, action, code from runledger.sync_catalog('billing', '[]', '[]')"
SAME = (
    'select name, action, code from runledger.sync_catalog(\'billing\', \'[{"job_type": "a"}, {"job_type": "b"}]\','
    ' \'[{"name": "nightly", "job_type": "a", "cron": "0 3 * * *"}, {"name": "new", "job_type": "b", "cron": "@daily"}]\')'
)
REVERSED = (
    'select name, action, code from runledger.sync_catalog(\'billing\', \'[{"job_type": "b"}, {"job_type": "a"}]\','
    ' \'[{"name": "new", "job_type": "b", "cron": "@daily"}, {"name": "nightly", "job_type": "a", "cron": "0 3 * * *"}]\')'
)
RIVALS = {
    "upsert": "select * from runledger.upsert_schedule('nightly', 'a', '0 5 * * *')",
    "upsert of a new one": "select * from runledger.upsert_schedule('new', 'a', '0 5 * * *')",
    "upsert outside": "select * from runledger.upsert_schedule('outside', 'a', '0 5 * * *')",
    "pause": "select * from runledger.pause_schedule('nightly')",
    "resume": "select * from runledger.resume_schedule('nightly', now())",
    "delete": "select * from runledger.delete_schedule('nightly')",
    "define": "select * from runledger.define_job('a', priority => 7)",
    "define a new one": "select * from runledger.define_job('b', priority => 7)",
    "disable": "select * from runledger.disable_job_type('a')",
    "sync": SAME,
    "sync in another order": REVERSED,
    "sync of nothing": EMPTY,
}


@pytest.mark.parametrize("rival", RIVALS)
@pytest.mark.parametrize("call", [SAME, EMPTY], ids=["all", "nothing"])
def test_whoever_meets_a_sync_goes_before_or_after_it(db: Db, q: Ledger, sync: Sync, sessions, call: str, rival: str):
    """A gate holds the type or the schedule that both need; then it opens: no deadlock, and the guard holds."""
    for gate_on in (
        "select from runledger.job_schedules where name = 'nightly' for update",
        "select from runledger.job_definitions where job_type = 'a' for update",
        "insert into runledger.job_schedules (id, name, job_type, cron_expr, next_fire_at, next_base_at, created_at, updated_at)"
        " values (gen_random_uuid(), 'new', 'a', '@daily', now(), now(), now(), now())",
        "insert into runledger.job_definitions (job_type) values ('b')",
    ):  # fmt: skip
        for first in ("sync", "rival"):
            db.execute("delete from runledger.job_schedules")
            db.execute("delete from runledger.job_definitions")
            sync([A], [NIGHTLY])
            gate, a, b = sessions("gate", "a", "b")
            gate.begin().execute(gate_on)
            order = [(a, call), (b, RIVALS[rival])]
            started = []
            for session, query in order if first == "sync" else order[::-1]:
                started.append(session.start(query))
                session.blocked()
            gate.rollback()
            codes = []
            for pending in started:
                try:
                    pending.result()
                except psycopg.Error as error:
                    codes.append(error.sqlstate)
            # The guard, or a row that the other one deleted.
            assert set(codes) <= {"RL001", "RL002", "RL004"}, codes
            assert (
                db.all(
                    "select s.name from runledger.job_schedules s join runledger.job_definitions d using (job_type)"
                    " where s.is_active and not d.is_enabled"
                )
                == []
            )
            db.execute("update runledger.job_schedules set is_active = false")
            for session in (gate, a, b):
                session.close()


def test_many_who_change_the_same_at_once_never_deadlock(db: Db, q: Ledger):
    """Four sessions, a hundred random verbs each: what is refused is refused for a reason of ours."""
    for name in "abc":
        q.define(name)
    types, names = "abcdef", ["s1", "s2", "s3", "s4", "s5"]
    states: list[str | None] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        mine = q.on()
        for _ in range(100):
            listed = [{"job_type": t, "priority": rng.randint(0, 9)} for t in rng.sample(types, rng.randint(0, 4))]
            planned = [
                {"name": s, "job_type": rng.choice(types), "cron": "* * * * * *"}
                for s in rng.sample(names, rng.randint(0, 4))
            ]
            name = rng.choice(names)
            verbs: list[tuple[str, dict[str, Any]]] = [
                *[("sync_catalog", {"catalog": rng.choice("xy"), "definitions": listed, "schedules": planned})] * 6,
                *[("upsert_schedule", {"name": name, "job_type": rng.choice("abc"), "cron": rng.choice(["@daily", "* * * * * *"])})] * 4,
                *[("delete_schedule", {"name": name})] * 2,
                ("pause_schedule", {"name": name}),
                ("resume_schedule", {"name": name}),
                ("disable_job_type", {"job_type": rng.choice("abc")}),
                ("enable_job_type", {"job_type": rng.choice(types)}),
                ("define_job", {"job_type": rng.choice(types), "priority": rng.randint(0, 9)}),
                ("fire_due_schedules", {}),
            ]  # fmt: skip
            verb, arguments = rng.choice(verbs)
            try:
                mine.rows(verb, **arguments)
            except psycopg.Error as error:
                states.append(error.sqlstate)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(states) <= {"RL001", "RL002", "RL004", "RL010", "RL021"}
    assert (
        db.all(
            "select s.name from runledger.job_schedules s join runledger.job_definitions d using (job_type)"
            " where s.is_active and not d.is_enabled"
        )
        == []
    )
    db.execute("update runledger.job_schedules set is_active = false")


def test_a_sync_does_not_wait_for_ever(db: Db, q: Ledger, sync: Sync, sessions):
    """A shorter lock_timeout of the caller holds; ours is the limit catalog_lock_seconds."""
    sync([A], [NIGHTLY])
    gate, a = sessions("gate", "a")
    gate.begin().execute("select from runledger.job_definitions where job_type = 'a' for update")
    a.execute("set lock_timeout = '1ms'")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        a.execute(EMPTY)
    a.execute("set lock_timeout = 0")
    waiting = a.start(EMPTY)
    assert a.blocked(gate)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        waiting.result()
    gate.rollback()
    assert {r["action"] for r in a.execute(EMPTY)} == {"DISABLED", "PAUSED"}
