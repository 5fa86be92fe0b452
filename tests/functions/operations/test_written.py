"""What the verbs for schedules, catalogs, workers and upkeep answer and write, to the last column: written/*.out.

The form is that of tests/functions/jobs/test_written; `RUNLEDGER_WRITE=1 pytest …` writes the files anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.functions.jobs.test_written import Act, Scene
from tests.functions.operations.test_prune import call as prune_call
from tests.functions.operations.test_prune import counted
from tests.support.clock import Clock
from tests.support.database import Db
from tests.support.flows import Flow, Flows, gate, step
from tests.support.ledger import NOBODY, OTHER_TENANT, TENANT, Ledger
from tests.support.written import stands_written

HERE = Path(__file__).parent / "written"
TABLES = {
    "job_definitions": ("job_type",), "job_schedules": ("name",), "job_queue": ("id",), "job_attempts": ("job_id", "run_number", "attempt"),
    "job_events": ("id",), "job_dead_letters": ("job_id",), "job_replays": ("replay_job_id",), "workflow_runs": ("id",),
    "workflow_steps": ("workflow_run_id", "step_key"), "workflow_run_mutations": ("workflow_run_id", "mutation_key"),
    "workflow_step_dependencies": ("prerequisite_step_id", "dependent_step_id"), "workers": ("worker_id",),
    "retention_settings": ("only_row",), "prune_passes": ("caller",), "upkeep_state": ("only_row",), "job_logs": ("id",), "operator_actions": ("id",),
}  # fmt: skip
# What other cases, other sessions or the machine have a part in.
HIDDEN = {"mark_id", "mark_xid", "rolled_up_to", "timeline", "timeline_since", "enqueue_request"}
EMPTIED = ("job_schedules", "workers", "prune_passes", "job_metrics_slots", "job_metrics_totals")
OLD = ("job_events", "job_logs", "job_attempts", "job_dead_letters", "job_replays", "workflow_runs", "workflow_step_dependencies", "job_queue")
INSTANT, DAY = timedelta(microseconds=1), timedelta(days=1)
CASES: dict[str, dict[str, Callable[[Ops], Act]]] = {}


class Ops(Scene):
    tables = TABLES

    def rows(self) -> dict[tuple[Any, ...], dict[str, Any]]:
        return {
            (table, *(row[k] for k in key)): {k: v for k, v in row.items() if k not in HIDDEN}
            for table, key in self.tables.items()
            for row in self.db.all(f"select * from runledger.{table} order by {', '.join(key)}")
        }

    def word(self, value: Any, column: str = "") -> str:
        if isinstance(value, timedelta):
            return str(value)
        if isinstance(value, str) and re.search(r"20\d\d-\d\d-\d\dT", value):
            value = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", lambda found: self.word(UUID(found[0])), value)
            return re.sub(r"20\d\d-\d\d-\d\dT[0-9:.]*Z?([+-]\d\d:\d\d)?", lambda found: self.word(datetime.fromisoformat(found[0])), value)
        return super().word(value, column)

    def to(self, at: datetime) -> None:
        self.clock.advance(at - self.clock.now())


def each(area: str, verb: str, cases: dict[str, Callable[[Ops], Act]]) -> None:
    for name, build in cases.items():
        assert f"{verb}: {name}" not in CASES.setdefault(area, {})
        CASES[area][f"{verb}: {name}"] = build


def evaluated(s: Ops, given: dict[str, Any]) -> dict[str, Any]:
    return {k: v(s) if callable(v) else v for k, v in given.items()}


def call(verb: str, *before: tuple[str, dict[str, Any]], then: Callable[[Ops], None] | None = None, **given: Any) -> Callable[[Ops], Act]:
    """One call, after some others that each took a second."""

    def build(s: Ops) -> Act:
        for other, arguments in before:
            s.q.rows(other, **evaluated(s, arguments))
            s.clock.advance(1)
        if then:
            then(s)
        return lambda: s.q.rows(verb, **evaluated(s, given))

    return build


# Schedules. Each case begins without any, at half past twelve.

STEPS = [{"key": "a", "job_type": "t"}, {"key": "g", "external": True, "after_success": ["a"]}]
JOB = {"name": "s", "job_type": "t", "cron": "0 * * * *"}
RUN = {"name": "s", "job_type": None, "workflow_type": "w", "steps": STEPS, "cron": "0 * * * *"}
FULL = {
    **JOB, "timezone": "Europe/Berlin", "payload": {"n": 1}, "organization_id": TENANT, "missed": "ALL",
}  # fmt: skip


def earlier(s: Ops) -> datetime:
    return s.now - timedelta(days=2, microseconds=1)


MADE, PAUSED = ("upsert_schedule", FULL), ("pause_schedule", {"name": "s", "reason": "deploy"})
each("schedules", "upsert_schedule", {
    "new": call("upsert_schedule", **JOB), "new, with everything": call("upsert_schedule", **FULL), "new, of a workflow": call("upsert_schedule", **RUN),
    "new, inactive, from an instant": call("upsert_schedule", **{**JOB, "is_active": False, "next_fire_at": earlier}),
    "again": call("upsert_schedule", MADE, **FULL),
    **{f"another {name}": call("upsert_schedule", MADE, **{**FULL, name: value}) for name, value in {
        "job_type": "u", "cron": "5 * * * *", "timezone": "Asia/Tokyo", "payload": {"n": 2}, "organization_id": OTHER_TENANT,
        "max_jitter_seconds": 61, "missed": "SKIP", "is_active": False, "next_fire_at": earlier}.items()},
    "another cron, from an instant": call("upsert_schedule", MADE, **{**FULL, "cron": "@daily", "next_fire_at": earlier}),
    "another zone, from an instant": call("upsert_schedule", MADE, **{**FULL, "timezone": "UTC", "next_fire_at": earlier}),
    "a workflow in place of a job": call("upsert_schedule", ("upsert_schedule", JOB), **RUN),
    "another workflow_type": call("upsert_schedule", ("upsert_schedule", RUN), **{**RUN, "workflow_type": "v"}),
    "other steps": call("upsert_schedule", ("upsert_schedule", RUN), **{**RUN, "steps": STEPS[:1]}),
    "of a paused one": call("upsert_schedule", MADE, PAUSED, **{**FULL, "payload": 1}),
    "of a paused one, again": call("upsert_schedule", MADE, PAUSED, **FULL),
    "active, of a paused one": call("upsert_schedule", MADE, PAUSED, **{**FULL, "is_active": True}),
    "inactive, of a paused one": call("upsert_schedule", MADE, PAUSED, **{**FULL, "is_active": False}),
})  # fmt: skip


def deferred(s: Ops) -> None:
    s.db.execute("update runledger.job_schedules set deferred_at = %(now)s, deferred_until = %(now)s, deferred_code = 'x'", {"now": s.clock.now()})
    s.clock.advance(1)


def inactive(s: Ops) -> None:
    s.db.execute("update runledger.job_schedules set is_active = false")


def absent(s: Ops) -> None:
    s.db.execute("update runledger.job_schedules set is_active = false, catalog = 'c', paused_at = %(now)s, absent_at = %(now)s", {"now": s.clock.now()})
    s.clock.advance(1)


each("schedules", "switches", {
    "pause": call("pause_schedule", MADE, name="s"), "pause, with a reason": call("pause_schedule", MADE, name="s", reason="deploy"),
    "pause again": call("pause_schedule", MADE, PAUSED, name="s", reason="other"),
    "pause what is inactive": call("pause_schedule", MADE, then=inactive, name="s"),
    "pause what a sync paused": call("pause_schedule", MADE, then=absent, name="s", reason="really"),
    "resume": call("resume_schedule", MADE, PAUSED, name="s"), "resume again": call("resume_schedule", MADE, name="s"),
    "resume what is inactive": call("resume_schedule", MADE, then=inactive, name="s"),
    "resume from an instant": call("resume_schedule", MADE, PAUSED, name="s", next_fire_at=earlier),
    "resume what is active, from an instant": call("resume_schedule", MADE, name="s", next_fire_at=earlier),
    "resume what is put off": call("resume_schedule", MADE, PAUSED, then=deferred, name="s"),
    "upsert of what is put off": call("upsert_schedule", MADE, then=deferred, **{**FULL, "payload": 2}),
    "delete": call("delete_schedule", MADE, ("upsert_schedule", {**JOB, "name": "other"}), name="s"),
})  # fmt: skip
each("schedules", "reads", {
    "get_schedule": call("get_schedule", MADE, ("upsert_schedule", {**JOB, "name": "other"}), PAUSED, name="s"),
    "get_schedule, of a workflow": call("get_schedule", ("upsert_schedule", RUN), name="s"),
    "get_schedule, put off": call("get_schedule", MADE, then=deferred, name="s"),
    "list_schedules": call("list_schedules", MADE, ("upsert_schedule", {**RUN, "name": "r"}), then=deferred),
    "next_schedule_at": call("next_schedule_at", MADE, ("upsert_schedule", {**JOB, "name": "first", "next_fire_at": earlier, "is_active": False})),
    "preview_schedule": call("preview_schedule", ("upsert_schedule", JOB), name="s", fires=4),
    "preview_schedule, of an overdue one that fires each": call(
        "preview_schedule", ("upsert_schedule", {**JOB, "missed": "ALL", "next_fire_at": earlier}), name="s", fires=3),
    "preview_schedule, of an overdue one that fires once": call("preview_schedule", ("upsert_schedule", {**JOB, "next_fire_at": earlier}), name="s", fires=3),
})  # fmt: skip


def fires(at: float, *before: dict[str, Any], moved: bool = False, **given: Any) -> Callable[[Ops], Act]:
    """Fire so many seconds after the first instant, which is half an hour ahead."""

    def build(s: Ops) -> Act:
        for arguments in before:
            s.q.row("upsert_schedule", **arguments)
        due = min(s.db.column("select due_at from runledger.job_schedules where is_active"))
        if moved:
            s.to(due)
            s.q.rows("fire_due_schedules")
            s.q.row("resume_schedule", name="s", next_fire_at=due)
        s.to(due + timedelta(seconds=at))
        return lambda: s.q.rows("fire_due_schedules", **given)

    return build


SKIP, ALL, ONCE = ({**JOB, "missed": m} for m in ("SKIP", "ALL", "ONCE"))
each("schedules", "fire_due_schedules", {
    "at the instant": fires(0, FULL), "a moment before": fires(-0.000001, JOB), "of a workflow": fires(1, {**RUN, "organization_id": TENANT, "payload": [1]}),
    "no object": fires(0, {**JOB, "payload": [1]}), "once, three missed": fires(7201, ONCE), "each of three": fires(7201, ALL),
    "each, up to the instant": fires(7200, ALL),
    "skipped, a minute late": fires(60, SKIP), "skipped, over a minute late": fires(60.000001, SKIP),
    "skipped, a minute late after others": fires(7260, SKIP), "skipped, over a minute late after others": fires(7260.000001, SKIP),
    "done before": fires(5, JOB, moved=True), "done before, of a workflow": fires(5, {**RUN, "organization_id": TENANT}, moved=True),
    "done before, each": fires(3601, ALL, moved=True),
    "one of two, the most overdue": fires(700, JOB, {**JOB, "name": "first", "cron": "55 * * * *"}, max_schedules=1),
    "two at once": fires(3600, JOB, {**JOB, "name": "a", "job_type": "u", "cron": "59 * * * *"}),
})  # fmt: skip


def broken(s: Ops) -> Act:
    act = fires(125, JOB, {**JOB, "name": "bad", "job_type": "u", "cron": "1 * * * *"}, {**RUN, "name": "worse", "cron": "2 * * * *"})(s)
    s.db.execute("update runledger.job_definitions set is_enabled = false, disabled_at = now() where job_type = 'u'")
    s.db.execute("update runledger.job_schedules set timezone = 'Mars/Olympus' where name = 'worse'")
    return act


def mended(s: Ops) -> Act:
    s.q.row("upsert_schedule", **JOB)
    s.to(s.db.value("select due_at from runledger.job_schedules"))
    deferred(s)
    return lambda: s.q.rows("fire_due_schedules")


each("schedules", "fire_due_schedules", {"two that cannot": broken, "one that was put off": mended})


# Catalogs. Each case begins without schedules, and with the types `t` and `u` of nobody.

A, B = {"job_type": "a"}, {"job_type": "b", "priority": -7}
NIGHTLY = {"name": "nightly", "job_type": "a", "cron": "0 * * * *"}
FLOW = {"name": "flow", "workflow_type": "w", "cron": "5 * * * *", "steps": [{"key": "x", "job_type": "b"}, {"key": "g", "external": True}]}


def sync(definitions: list[Any], *schedules: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    return "sync_catalog", {"catalog": "c", "definitions": definitions, "schedules": list(schedules), **more}


def synced(*before: tuple[str, dict[str, Any]], then: Callable[[Ops], None] | None = None) -> Callable[[Ops], Act]:
    """The last of these calls, told."""
    return call(before[-1][0], *before[:-1], then=then, **before[-1][1])


EVERY = {
    "job_type": "a", "version": 2, "max_attempts": 3, "timeout_seconds": 60, "priority": -5, "max_concurrency": 4, "retry_base_ms": 100,
    "retry_max_ms": 200, "retry_delays_ms": {"busy": 7},
}  # fmt: skip
EVERY_SCHEDULE = {
    **NIGHTLY, "timezone": "Europe/Berlin", "payload": {"n": None}, "organization_id": str(TENANT), "missed": "ALL",
}  # fmt: skip
LISTED = sync([A, B], NIGHTLY, FLOW)
OFF, HELD = ("disable_job_type", {"job_type": "a", "reason": "broken"}), ("pause_schedule", {"name": "nightly", "reason": "deploy"})
each("catalog", "sync_catalog", {
    "new": synced(LISTED), "new, with everything": synced(sync([EVERY, B], EVERY_SCHEDULE, {**FLOW, "is_active": False})),
    "again": synced(LISTED, LISTED), "in another order": synced(LISTED, sync([B, A], FLOW, NIGHTLY)),
    "a dry run": synced(sync([A, B], NIGHTLY, FLOW, dry_run=True)), "a dry run of nothing": synced(LISTED, sync([], dry_run=True)),
    **{f"another {name}": synced(sync([A]), sync([{**A, name: 400_000 if name == "retry_max_ms" else value}])) for name, value in EVERY.items() if name != "job_type"},
    **{f"another {name} of a schedule": synced(sync([A, B], NIGHTLY), sync([A, B], {**NIGHTLY, name: value})) for name, value in {
        **EVERY_SCHEDULE, "job_type": "b", "cron": "@hourly", "max_jitter_seconds": 61, "is_active": False}.items() if name != "name"},
    "a workflow in place of a job": synced(sync([A, B], {**NIGHTLY, "name": "flow"}), sync([A, B], FLOW)),
    "a job in place of a workflow": synced(sync([A, B], FLOW), sync([A, B], {**NIGHTLY, "name": "flow"})),
    "nothing any more": synced(LISTED, sync([])), "nothing, again": synced(LISTED, sync([]), sync([])),
    "a schedule less": synced(LISTED, sync([A, B], FLOW)), "a type less": synced(LISTED, sync([B], FLOW)),
    "a type less that is still used": synced(LISTED, sync([B], NIGHTLY, FLOW)),
    "a type less that a workflow still uses": synced(LISTED, sync([A], NIGHTLY, FLOW)),
    "a type less whose schedule goes inactive": synced(LISTED, sync([A], NIGHTLY, {**FLOW, "is_active": False})),
    "a type less that is used outside": synced(LISTED, ("upsert_schedule", {"name": "s", "job_type": "a", "cron": "0 * * * *"}), sync([B], FLOW)),
    "a type less that an inactive schedule uses": synced(
        LISTED, ("upsert_schedule", {"name": "s", "job_type": "a", "cron": "0 * * * *", "is_active": False}), sync([B], FLOW)),
    "a type less whose schedule is refused": synced(sync([A], NIGHTLY), sync([], {**NIGHTLY, "cron": "x"})),
    "a type less whose schedule cannot go over to another": synced(
        sync([A, B], NIGHTLY), sync([B], {**NIGHTLY, "job_type": "b", "cron": "x"})),
    "a type less that a schedule of the name of another type uses": synced(
        sync([A, B]), ("upsert_schedule", {"name": "b", "job_type": "a", "cron": "0 * * * *"}), sync([B])),
    "a schedule less of the name of a type": synced(sync([A, B], {**NIGHTLY, "name": "b"}), sync([A, B])),
    "back": synced(LISTED, sync([]), LISTED), "back, with another cron": synced(LISTED, sync([A, B]), sync([A, B], {**NIGHTLY, "cron": "9 * * * *"})),
    "back, from an instant": synced(LISTED, sync([A, B]), sync([A, B], {**NIGHTLY, "next_fire_at": "2026-01-01T00:00:00Z"})),
    "back, but inactive": synced(LISTED, sync([A, B]), sync([A, B], {**NIGHTLY, "is_active": False})),
    "what an operator switched off": synced(LISTED, HELD, OFF, sync([A, B], NIGHTLY, FLOW)),
    "what an operator switched off changes": synced(LISTED, HELD, OFF, sync([{**A, "priority": 1}, B], {**NIGHTLY, "payload": 1}, FLOW)),
    "what an operator switched off is listed no more": synced(LISTED, HELD, OFF, sync([B], FLOW)),
    "what an operator switched off is back": synced(LISTED, HELD, OFF, sync([B], FLOW), LISTED),
    "what an operator switched on again": synced(
        LISTED, sync([B], FLOW), ("enable_job_type", {"job_type": "a"}), ("resume_schedule", {"name": "nightly"}), LISTED),
    "what an operator switched off again": synced(LISTED, sync([B], FLOW), HELD, OFF, LISTED),
    "what was nobody's": synced(
        ("define_job", {"job_type": "a", "max_attempts": 5}), ("upsert_schedule", {"name": "nightly", "job_type": "a", "cron": "0 * * * *"}),
        sync([A], NIGHTLY)),
    "what is another's": synced(sync([A, B], NIGHTLY, catalog="d"), sync([{**A, "priority": 1}], {**NIGHTLY, "cron": "x"}, FLOW)),
    "what another has let go": synced(sync([A, B], NIGHTLY, catalog="d"), sync([B], catalog="d"), sync([A], NIGHTLY)),
    "types of another": synced(sync([A, B], catalog="d"), sync([], NIGHTLY, FLOW)),
    "no types": synced(sync([], NIGHTLY, {**FLOW, "is_active": False}, {**FLOW, "name": "r"}, {**NIGHTLY, "name": "i", "is_active": False})),
    "a type that is off": synced(sync([A]), OFF, sync([A], NIGHTLY, {**NIGHTLY, "name": "i", "is_active": False})),
    "one that makes no sense": synced(sync([{**A, "max_attempts": 0}, B], NIGHTLY, FLOW)),
    "one that makes no sense any more": synced(LISTED, sync([{**A, "oops": 1}, B], {**NIGHTLY, "missed": "x"}, FLOW)),
    "what was put off": synced(LISTED, sync([A, B], {**NIGHTLY, "payload": 1}, FLOW), then=deferred),
    "what was put off, again": synced(LISTED, LISTED, then=deferred),
})  # fmt: skip

# Workers.

HERE_I_AM = ("register_worker", {"worker_id": "w", "job_types": ["u", "t"], "max_jobs": 3, "metadata": {"host": "h"}})


def in_seconds(n: float) -> Callable[[Ops], datetime]:
    return lambda s: s.now + timedelta(seconds=n)


def leases(s: Ops) -> None:
    """A worker of each kind, seen up to three minutes ago and a moment before; leases that have ended now and a moment later."""
    for name in ("silent", "still", "edge", "idle", "awake"):
        s.q.row("register_worker", worker_id=name, job_types=["t"])
    now = s.clock.now()
    seen = "update runledger.workers set last_seen_at = %s, idle_until = %s where worker_id = %s"
    s.db.execute(seen, [now - timedelta(minutes=3, microseconds=1), now + DAY, "silent"])
    s.db.execute(seen, [now - timedelta(minutes=3), None, "still"])
    s.db.execute(seen, [now - timedelta(minutes=3), None, "edge"])
    s.db.execute(seen, [now, now + INSTANT, "idle"])
    s.db.execute(seen, [now, now, "awake"])
    for worker in ("stranger", "still", "ended", "over"):
        s.q.leased("u", worker=worker, priority=9999)
    s.q.leased("u", worker="still", priority=9999)
    s.q.row("cancel_job", job_id=s.q.leased("u", worker="canceled", priority=9999)["job_id"])
    s.db.execute("update runledger.job_queue set lease_expires_at = %s where worker_id = 'ended'", [now])
    s.db.execute("update runledger.job_queue set lease_expires_at = %s where worker_id = 'over'", [now - INSTANT])
    s.db.execute("update runledger.job_queue set lease_expires_at = %s where worker_id = 'stranger'", [now + INSTANT])
    s.db.execute("update runledger.job_queue set last_heartbeat_at = %s - interval '9 minutes' where worker_id = 'stranger'", [now])


each("workers", "workers", {
    "new": call("register_worker", **HERE_I_AM[1]), "new, with defaults": call("register_worker", worker_id="w", job_types=["t"]),
    "new, without metadata": call("register_worker", worker_id="w", job_types=[], metadata=None),
    "again": call("register_worker", HERE_I_AM, **HERE_I_AM[1]),
    "again, otherwise": call("register_worker", HERE_I_AM, worker_id="w", job_types=["t"], max_jobs=1, metadata={"host": "i"}),
    "again, idle": call("register_worker", HERE_I_AM, ("idle_worker", {"worker_id": "w", "until": in_seconds(900)}), **HERE_I_AM[1]),
    "idle": call("idle_worker", HERE_I_AM, worker_id="w", until=in_seconds(3600)),
    "idle, until now": call("idle_worker", HERE_I_AM, ("idle_worker", {"worker_id": "w", "until": in_seconds(900)}), worker_id="w", until=in_seconds(0)),
    "idle, for a moment": call("idle_worker", HERE_I_AM, worker_id="w", until=in_seconds(0.000001)),
    "no more idle": call("idle_worker", HERE_I_AM, ("idle_worker", {"worker_id": "w", "until": in_seconds(900)}), worker_id="w"),
    "idle, with a job to come": call(
        "idle_worker", HERE_I_AM, ("enqueue_job", {"job_type": "t", "run_at": in_seconds(77)}), worker_id="w", until=in_seconds(900)),
    "gone": call("deregister_worker", HERE_I_AM, ("register_worker", {"worker_id": "v", "job_types": ["t"]}), worker_id="w"),
    "gone already": call("deregister_worker", HERE_I_AM, worker_id="v"),
    "listed": call("list_workers", then=leases), "listed of a type": call("list_workers", HERE_I_AM, then=leases, job_type="u"),
    "listed from one on": call("list_workers", then=leases, after_worker="silent"), "two listed": call("list_workers", then=leases, max_rows=2),
})  # fmt: skip

# Ages, and what goes by them. Each case begins with nothing that is old.

each("retention", "set_retention", {
    "read": call("retention"), "finished": call("set_retention", finished=3 * DAY), "read again": call("retention"),
    "dead letters": call("set_retention", dead_letters=7 * DAY), "history": call("set_retention", history=5 * DAY),
    "the same": call("set_retention", finished=3 * DAY), "nothing": call("set_retention"), "all": call("set_retention", finished=DAY, dead_letters=2 * DAY, history=0 * DAY),
    "the longest": call("set_retention", finished=3650 * DAY, dead_letters=INSTANT, history=3650 * DAY),
})  # fmt: skip


# What is old goes, and what is a moment younger stays. The clock stands at the age of the first of each pair, to the moment.


def pruned(*makers: Callable[[Ops], Any], age: timedelta = DAY, before: Callable[[Ops], Any] | None = None,
           **given: Any) -> Callable[[Ops], Act]:  # fmt: skip
    """Each maker twice, a moment apart; then prune, when all of the first is older than the age and nothing of the second."""

    def build(s: Ops) -> Act:
        for maker in makers:
            maker(s)
        s.clock.advance(INSTANT)
        for maker in makers:
            maker(s)
        s.clock.advance(age)
        if before:
            before(s)
        counted(s.db)
        return lambda: [{"task": k, "affected": n, "more": m} for k, (n, m) in prune_call(s.q, **{"older_than": DAY, **given}).items()]

    return build


def dead(s: Ops) -> None:
    s.q.dead()


def done(s: Ops) -> None:
    s.q.succeed(s.q.leased())


def canceled(s: Ops) -> None:
    s.q.row("cancel_job", job_id=s.q.enqueue())


def run(s: Ops) -> Flow:
    key = f"k{s.db.value('select count(*) from runledger.workflow_runs')}"
    flow = Flows(s.q)(step("a"), gate("g", "a"), step("b", "g"), active_key=key, idempotency_key=key)
    flow.succeed("a")
    flow.append(step("c", "a"))
    flow.complete("g")
    flow.succeed("b", "c")
    return flow


def failed_run(s: Ops) -> None:
    flow = Flows(s.q)(step("a"), step("b", always="a"))
    flow.fail("a")
    flow.succeed("b")


def canceled_run(s: Ops) -> None:
    Flows(s.q)(step("a"), step("b", "a")).cancel()


def open_run(s: Ops) -> None:
    Flows(s.q)(step("a"), gate("g")).succeed("a")


def replayed(s: Ops) -> None:
    lease = s.q.leased()
    s.q.succeed(lease)
    replay = s.q.row("replay_job", job_id=lease["job_id"], request_key=str(s.clock.now()), reason="r")["job_id"]
    s.q.succeed(s.q.hold(replay))


def pending(s: Ops) -> None:
    s.q.enqueue(priority=1)


def logged(s: Ops) -> None:
    s.q.row("log_job", job_id=s.q.enqueue(priority=1), level="info", message="x")


def without_events(s: Ops) -> None:
    s.db.execute("delete from runledger.job_events")


def beside_another(s: Ops) -> None:
    rested(None)(s)


DEAD = {"dead_letters_older_than": 2 * DAY}
each("prune", "prune", {
    "jobs": pruned(done, canceled, reason="to be rid of it"), "dead letters": pruned(dead, done, age=2 * DAY, **DEAD), "dead letters that are kept": pruned(dead, **DEAD),
    "dead letters before jobs": pruned(dead, done, dead_letters_older_than=DAY / 2), "a replay": pruned(replayed), "what waits": pruned(pending),
    "runs": pruned(run), "a run with a dead letter": pruned(failed_run, age=2 * DAY, **DEAD), "a run with one that is kept": pruned(failed_run, run, **DEAD),
    "a run with one, before other runs": pruned(failed_run, dead_letters_older_than=DAY / 2), "a canceled run": pruned(canceled_run),
    "a run that goes on": pruned(open_run, age=9 * DAY),
    "a row a call": pruned(done, max_rows=1), "two rows a call": pruned(done, done, age=DAY + INSTANT, max_rows=2), "three rows a call": pruned(done, done, age=DAY + INSTANT, max_rows=3),
    "ten rows a call, of runs": pruned(run, done, age=DAY + INSTANT, max_rows=10), "four rows a call, of runs": pruned(canceled_run, age=DAY + INSTANT, max_rows=4),
    "five rows a call, of runs": pruned(canceled_run, age=DAY + INSTANT, max_rows=5),
    "log lines, a row a call": pruned(logged, before=without_events, max_rows=1), "log lines": pruned(logged, logged, before=without_events),
    "beside a pass of maintenance": pruned(done, run, logged, before=beside_another),
    "a handler at work to this moment": pruned(before=lambda s: at_work(s, DAY)), "a handler at work for a moment more": pruned(before=lambda s: at_work(s, DAY + INSTANT)),
    "a handler of a run at work to this moment": pruned(before=lambda s: at_work(s, DAY, of_run=True)),
    "a handler of a run at work for a moment more": pruned(before=lambda s: at_work(s, DAY + INSTANT, of_run=True)),
})  # fmt: skip


def at_work(s: Ops, until: timedelta, of_run: bool = False) -> None:
    """Canceled a day and a moment ago; what its lease says of its end is set by hand."""
    s.clock.advance(-DAY - INSTANT)
    if of_run:
        flow = Flows(s.q)(step("a"))
        job_id = flow.lease("a")["job_id"]
        flow.cancel()
    else:
        job_id = s.q.leased()["job_id"]
        s.q.row("cancel_job", job_id=job_id)
    s.db.execute("update runledger.job_queue set lease_expires_at = %s where id = %s", [s.clock.now() + INSTANT + until, job_id])
    s.clock.advance(DAY + INSTANT)


# What there is to watch: something in every state, and what is a moment on either side of each bound.


def fleet(s: Ops) -> None:
    """Attempts of a second, of ten and of a hundred, in each way to end, the last of them as the clock stands."""
    s.q.define("u", priority=7, max_attempts=1, timeout_seconds=6)
    ends: list[Callable[[dict[str, Any]], Any]] = [
        s.q.succeed, lambda lease: s.q.fail(lease, kind="TERMINAL"), lambda lease: s.q.fail(lease, kind="PANICKED"),
        lambda lease: s.q.fail(lease, kind="TIMEOUT"), lambda lease: s.q.fail(lease, not_before=s.clock.now() + 9 * DAY), s.q.release,
        lambda lease: s.q.row("continue_job", **lease), lambda lease: s.q.row("cancel_job", job_id=lease["job_id"]),
    ]  # fmt: skip
    for nth, end in enumerate(ends):
        for job_type in "tu":
            lease = s.q.leased(job_type, organization_id=TENANT if nth % 2 else OTHER_TENANT, lease_seconds=900)
            s.clock.advance(10 ** (nth % 3))
            end(lease)
        s.db.execute("update runledger.job_queue set next_run_at = %s where status = 'PENDING'", [s.clock.now() + 9 * DAY])
    letters = s.db.column("select job_id from runledger.job_dead_letters order by failed_at, job_id")
    s.q.row("requeue_job", job_id=letters[0])
    s.q.row("requeue_job", job_id=letters[1])
    s.q.succeed(s.q.hold(letters[0]))
    s.q.leased("u", lease_seconds=1, priority=9999)
    s.clock.advance(2)
    s.q.reap()


def now_and_a_moment_later(s: Ops) -> None:
    fleet(s)
    leases(s)
    s.q.enqueue("lazy", run_at=s.clock.now())
    s.q.enqueue("lazy", run_at=s.clock.now() + INSTANT)
    s.q.enqueue("t", run_at=s.clock.now() - timedelta(seconds=77))
    for name in ("held", "off", "late", "in time", "failing", "idle"):
        s.q.row("upsert_schedule", name=name, job_type="t", cron="@yearly")
    s.q.row("pause_schedule", name="held")
    due = "update runledger.job_schedules set next_fire_at = %s, next_base_at = %s where name = %s"
    for name, at in (("late", timedelta(minutes=5, microseconds=1)), ("in time", timedelta(minutes=5))):
        s.db.execute(due, [s.clock.now() - at, s.clock.now() - at, name])
    s.db.execute("update runledger.job_schedules set is_active = false where name = 'off'")
    s.db.execute(
        "update runledger.job_schedules set deferred_at = runledger._now(), deferred_until = runledger._now(), deferred_code = 'e.x' where name = 'failing'"
    )
    s.q.row("pause_job_type", job_type="t")
    s.q.row("disable_job_type", job_type="lazy")
    for _ in range(2):
        Flows(s.q)(gate("g"))
    Flows(s.q)(gate("g"), step("a", job_type="u"))
    Flows(s.q)(gate("g")).complete("g")


def watched(s: Ops, rolled_up: bool) -> Act:
    now_and_a_moment_later(s)
    if rolled_up:
        counted(s.db)
    return lambda: [
        line for line in s.q.row("metrics_prometheus")["metrics_prometheus"].splitlines() if "schema_info{" not in line
    ]


def metrics(after: timedelta = timedelta(), rolled_up: bool = False, **of: Any) -> Callable[[Ops], Act]:
    """Of a ledger whose last slot of five minutes began so long ago."""

    def build(s: Ops) -> Act:
        now_and_a_moment_later(s)
        slot = s.db.value("select max(slot_at) from runledger._job_outcomes")
        if rolled_up:
            counted(s.db)
        if after:
            s.to(slot + after)
        return lambda: s.q.rows("job_metrics", **of)

    return build


LAST = timedelta(days=1, minutes=5)
each("metrics", "metrics", {
    "metrics_prometheus": lambda s: watched(s, False), "metrics_prometheus, rolled up": lambda s: watched(s, True),
    "job_metrics": metrics(), "job_metrics, rolled up": metrics(rolled_up=True), "job_metrics of a type": metrics(job_type="u"),
    "job_metrics of a tenant": metrics(organization_id=TENANT), "job_metrics of a type and a tenant": metrics(job_type="u", organization_id=TENANT, rolled_up=True),
    "job_metrics, the last slot": metrics(LAST - INSTANT), "job_metrics, no slot any more": metrics(LAST, rolled_up=True),
    "job_metrics, nothing happened": lambda s: lambda: s.q.rows("job_metrics"),
})  # fmt: skip


# The upkeep, as it is called all the time.


def upkeep(before: Callable[[Ops], Any]) -> Callable[[Ops], Act]:
    def build(s: Ops) -> Act:
        before(s)
        counted(s.db)
        return lambda: [r for r in s.q.rows("run_maintenance") if r["task"] != "rollup"]

    return build


def seen_ago(s: Ops) -> None:
    for name, ago in (("gone", DAY + INSTANT), ("here", DAY)):
        s.q.row("register_worker", worker_id=name, job_types=["t"])
        s.db.execute("update runledger.workers set last_seen_at = %s where worker_id = %s", [s.clock.now() - ago, name])


def ended_ago(s: Ops) -> None:
    for ago in (INSTANT, timedelta()):
        lease = s.q.leased()
        s.db.execute("update runledger.job_queue set lease_expires_at = %s where id = %s", [s.clock.now() - ago, lease["job_id"]])


def passed_ago(ago: timedelta) -> Callable[[Ops], None]:
    def build(s: Ops) -> None:
        s.db.execute("update runledger.upkeep_state set last_pass_at = %s", [s.clock.now() - ago])

    return build


def rested(ended: timedelta | None, touched: timedelta = timedelta(), **ages: timedelta) -> Callable[[Ops], None]:
    """A pass of maintenance that ended so long ago, or has not ended and was touched so long ago."""

    def build(s: Ops) -> None:
        s.q.rows("run_maintenance")
        s.db.execute(
            "update runledger.prune_passes set ended_at = %s, touched_at = %s, started_at = %s, after_job_id = %s, after_log_block = 3",
            [s.clock.now() - ended if ended is not None else None, s.clock.now() - touched, s.clock.now() - 9 * DAY, NOBODY],
        )
        for name, age in ages.items():
            s.db.execute(f"update runledger.prune_passes set {name} = %s", [age])

    return build


MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
each("upkeep", "run_maintenance", {
    "nothing to do": upkeep(lambda s: None), "workers seen a day ago": upkeep(seen_ago), "leases that end": upkeep(ended_ago),
    "a schedule": upkeep(lambda s: s.q.row("upsert_schedule", name="s", job_type="t", cron="0 * * * *", next_fire_at=s.clock.now())),
    "a gate": upkeep(lambda s: (Flows(s.q)(gate("g", timeout_seconds=1, on_timeout="FAILED")), s.clock.advance(1))),
    "a pass half a minute ago": upkeep(passed_ago(timedelta(seconds=30))), "a pass over half a minute ago": upkeep(passed_ago(timedelta(seconds=30, microseconds=1))),
    "a pass of the future": upkeep(passed_ago(-INSTANT)), "a pass now": upkeep(passed_ago(timedelta())),
    "an end of prune a minute ago": upkeep(rested(MINUTE)), "an end of prune over a minute ago": upkeep(rested(MINUTE + INSTANT)),
    "an end of prune now": upkeep(rested(timedelta())), "an end of prune to come": upkeep(rested(-INSTANT)),
    "prune goes on": upkeep(rested(None, HOUR)), "prune begins anew after an hour": upkeep(rested(None, HOUR + INSTANT)),
    "prune goes on, touched now": upkeep(rested(None)), "prune begins anew after a clock went back": upkeep(rested(None, -INSTANT)),
    **{f"prune begins anew with another {age}": upkeep(rested(None, **{age: 77 * DAY}))
       for age in ("older_than", "dead_letters_older_than", "history_older_than")},
})  # fmt: skip


@pytest.mark.parametrize("area", CASES)
def test_every_verb_answers_and_writes(db: Db, q: Ledger, clock: Clock, area: str):
    q.define("u", priority=7, max_attempts=4, timeout_seconds=6)
    q.define("lazy")
    scene = Ops(db, q, clock)
    if area in ("prune", "upkeep"):
        # Ids are of today, whatever the clock says, and their age has to be right. Of events the number is told.
        scene.to(clock.now() + 3 * DAY)
        scene.tables = {k: v for k, v in TABLES.items() if k != "job_events"}
    else:
        scene.to(datetime(2026, 3, 1, tzinfo=UTC))  # so that no day of the year says anything else
    lines = []
    for name, build in CASES[area].items():
        for table in EMPTIED + (OLD if area in ("prune", "metrics", "upkeep") else ()):
            db.execute(f"delete from runledger.{table}")
        db.execute("delete from runledger.job_definitions where job_type in ('a', 'b')")
        db.execute("update runledger.job_definitions set is_enabled = true, disabled_at = null, disabled_by = null, disabled_reason = null")
        db.execute("update runledger.job_queue set next_run_at = %s where status = 'PENDING'", [clock.now() + 900 * DAY])
        db.execute("update runledger.job_definitions set is_paused = false, paused_at = null, paused_by = null, paused_reason = null")
        scene.to(clock.now().replace(hour=12, minute=30, second=0, microsecond=0) + DAY)
        lines += [f"## {name}", *scene.told(build), ""]
    db.execute("delete from runledger.job_schedules")
    q.reap()
    stands_written(HERE / f"{area}.out", "\n".join(lines))
