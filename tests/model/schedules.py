"""The model of schedules, and the whole model. Cron is a scan of the clock, minute by minute or second by second."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from tests.model.base import DAY, EPOCH, HORIZON, Refused, Told, is_name, plain, refuse_if
from tests.model.flows import Flows
from tests.model.jobs import Row, columns

# Seconds, minutes and hours at which an expression of this model fires; None: each. Days are none of its business.
CRONS = {
    "*/20 * * * * *": ({0, 20, 40}, None, None),
    "*/7 * * * *": ({0}, set(range(0, 60, 7)), None),
    "@hourly": ({0}, {0}, None),
    "30 2 * * *": ({0}, {30}, {2}),
    "15,45 0-4 * * *": ({0}, {15, 45}, set(range(5))),
}  # fmt: skip
SECOND = timedelta(seconds=1)
LATE = timedelta(seconds=60)
FIRED = 20


@lru_cache(4096)
def next_fire(cron: str, zone: str, after: datetime) -> datetime:
    """With fixed minute and hour: whenever the furthest local time that there ever was passes one that matches."""
    seconds, minutes, hours = CRONS[cron]
    step = SECOND if len(seconds) > 1 else timedelta(minutes=1)
    tz = ZoneInfo(zone)

    def matches(local: datetime) -> bool:
        return local.second in seconds and (not minutes or local.minute in minutes) and (not hours or local.hour in hours)

    def wall(at: datetime) -> datetime:
        return at.astimezone(tz).replace(tzinfo=None)

    at = after.replace(microsecond=0) if step == SECOND else after.replace(second=0, microsecond=0)
    furthest = wall(at) if hours is None else max(wall(at - n * timedelta(hours=1)) for n in range(25))
    while True:
        at += step
        local = wall(at)
        if hours is None and matches(local):
            return at
        while hours is not None and furthest < local:
            furthest += step
            if matches(furthest):
                return at


@dataclass(slots=True)
class Schedule:
    id: str
    name: str
    job_type: str | None
    workflow_type: str | None
    workflow_steps: Any
    organization_id: str | None
    payload_template: Any
    cron_expr: str
    timezone: str
    missed: str
    max_jitter_seconds: int
    is_active: bool
    next_fire_at: datetime
    next_base_at: datetime
    created_at: datetime
    updated_at: datetime
    paused_at: datetime | None = None
    paused_reason: str | None = None
    last_fired_at: datetime | None = None
    deferred_at: datetime | None = None
    deferred_until: datetime | None = None
    deferred_code: str | None = None

    def jittered(self, base: datetime) -> datetime:
        """Always the same delay for an instant, and it ends before the next one."""
        most = min(self.max_jitter_seconds, int((next_fire(self.cron_expr, self.timezone, base) - base).total_seconds()) - 1)
        digest = hashlib.sha256(f"{self.id}/{base.timestamp():.6f}".encode()).hexdigest()
        return base + timedelta(seconds=int(digest[:8], 16) % (most + 1)) if most > 0 else base

    def move(self, after: datetime | None) -> None:
        """To the first fire behind the cursor that is later than that."""
        base = self.next_base_at
        if after and base < after - DAY - 2 * self.max_jitter_seconds * SECOND:
            base = after - DAY - 2 * self.max_jitter_seconds * SECOND  # what lies before cannot reach past it
        while True:
            base = next_fire(self.cron_expr, self.timezone, base)
            if after is None or self.jittered(base) > after:
                self.next_base_at, self.next_fire_at = base, self.jittered(base)
                return

    def types(self) -> list[str]:
        return [self.job_type] if self.job_type else [s["job_type"] for s in self.workflow_steps if "job_type" in s]


class Model(Flows):
    def __init__(self, now: datetime) -> None:
        super().__init__(now)
        self.schedules: dict[str, Schedule] = {}

    def dump(self) -> Row:
        return {**super().dump(), "job_schedules": {s.name: columns(s) for s in self.schedules.values()}}

    def moments(self) -> dict[str, set[datetime]]:
        return {**super().moments(), "fire": {s.next_fire_at for s in self.schedules.values() if s.is_active}}

    def is_scheduled(self, job_type: str) -> bool:
        return any(s.is_active and job_type in s.types() for s in self.schedules.values())

    def scheduled(self, name: str) -> Schedule:
        refuse_if(name not in self.schedules, "job_schedule.not_found")
        return self.schedules[name]

    def changed(self, schedule: Schedule, disposition: str) -> list[Row]:
        return [{"name": schedule.name, "disposition": disposition, "next_fire_at": plain(schedule.next_fire_at),
                 "is_active": schedule.is_active}]  # fmt: skip

    def can_fire(self, schedule: Schedule) -> None:
        there = {t for t in self.definitions if not schedule.is_active or self.definitions[t].is_enabled}
        asked = schedule.types() if schedule.is_active or schedule.job_type else []
        refuse_if(set(asked) - there, "job_schedule.definition_not_found_or_disabled")

    def upsert_schedule(self, told: Told, name: str, job_type: str | None, cron: str, timezone: str = "UTC",
                        payload: Any = None, organization_id: str | None = None, max_jitter_seconds: int = 0,
                        missed: str = "ONCE", is_active: bool | None = None, next_fire_at: datetime | None = None,
                        workflow_type: str | None = None, steps: Any = None) -> list[Row]:  # fmt: skip
        refuse_if(cron not in CRONS, "job_schedule.invalid_cron")
        refuse_if(not is_name(name) or name.strip() != name, "job_schedule.invalid_name")
        refuse_if((job_type is None) == (workflow_type is None) or (workflow_type is None) != (steps is None),
                  "job_schedule.invalid_target")  # fmt: skip
        refuse_if(not 0 <= max_jitter_seconds <= 86400, "job_schedule.invalid_jitter")
        refuse_if(missed not in ("ONCE", "SKIP", "ALL"), "job_schedule.invalid_missed")
        refuse_if(next_fire_at and not EPOCH <= next_fire_at <= self.now + HORIZON, "job_schedule.invalid_instant")
        refuse_if(timezone == "CEST", "job_schedule.invalid_timezone")
        if steps is not None:
            self.check_steps(steps, {})
        old = self.schedules.get(name)
        active = is_active if is_active is not None else old.is_active if old else True
        new = Schedule(
            told.dump["job_schedules"].get(name, {}).get("id", ""), name, job_type, workflow_type, steps, organization_id,
            {} if payload is None else payload, cron, timezone, missed, max_jitter_seconds, active, self.now, self.now,
            self.now, self.now,
        )  # fmt: skip
        self.can_fire(new)
        if next_fire_at:
            new.next_fire_at = new.next_base_at = next_fire_at
        else:
            new.move(None)
        if old is None:
            self.schedules[name] = new
            self.act("upsert_schedule", name)
            return self.changed(new, "INSERTED")
        kept = ["organization_id", "created_at", "last_fired_at"]
        kept += [] if new.is_active else ["paused_at", "paused_reason"]
        kept += ["next_fire_at", "next_base_at"] if (old.cron_expr, old.timezone) == (cron, timezone) else []
        for field in kept:
            setattr(new, field, getattr(old, field))
        said = ["job_type", "workflow_type", "workflow_steps", "payload_template", "cron_expr", "timezone", "missed",
                "max_jitter_seconds", "is_active"]  # fmt: skip
        if all(getattr(old, f) == getattr(new, f) for f in said):
            return self.changed(old, "UNCHANGED")
        self.schedules[name] = new
        self.act("upsert_schedule", name)
        return self.changed(new, "UPDATED")

    def pause_schedule(self, told: Told, name: str, reason: str | None = None) -> list[Row]:
        schedule = self.scheduled(name)
        if not schedule.is_active:
            return self.changed(schedule, "UNCHANGED")
        schedule.is_active, schedule.paused_at, schedule.paused_reason = False, self.now, reason
        schedule.updated_at = self.now
        self.act("pause_schedule", name, reason)
        return self.changed(schedule, "PAUSED")

    def resume_schedule(self, told: Told, name: str, next_fire_at: datetime | None = None) -> list[Row]:
        refuse_if(next_fire_at and not EPOCH <= next_fire_at <= self.now + HORIZON, "job_schedule.invalid_instant")
        schedule = self.scheduled(name)
        if schedule.is_active and next_fire_at is None:
            return self.changed(schedule, "UNCHANGED")
        was, schedule.is_active = schedule.is_active, True
        try:
            self.can_fire(schedule)
        except Refused:
            schedule.is_active = was
            raise
        schedule.paused_at = schedule.paused_reason = None
        schedule.deferred_at = schedule.deferred_until = schedule.deferred_code = None
        schedule.updated_at = self.now
        if next_fire_at:
            schedule.next_fire_at = schedule.next_base_at = next_fire_at
        self.act("resume_schedule", name)
        return self.changed(schedule, "RESUMED")

    def delete_schedule(self, told: Told, name: str) -> list[Row]:
        schedule = self.scheduled(name)
        del self.schedules[name]
        self.act("delete_schedule", name)
        return [{**self.changed(schedule, "DELETED")[0], "is_active": False}]

    def fire_due_schedules(self, told: Told, max_schedules: int = 100) -> list[Row]:
        refuse_if(not 1 <= max_schedules <= 1000, "job.invalid_limit")
        due = [s for s in self.schedules.values() if s.is_active and s.next_fire_at <= self.now]
        rows: list[Row] = []
        room = FIRED
        for schedule in sorted(due, key=lambda s: (s.next_fire_at, s.id))[:max_schedules]:
            if room <= 0:
                break
            each = max(1, len(schedule.workflow_steps or []))
            for _ in range(max(1, room // each)):
                room -= each
                row = {"name": schedule.name, "job_id": None, "workflow_run_id": None, "code": None,
                       "scheduled_for": plain(schedule.next_fire_at), "disposition": "FIRED"}  # fmt: skip
                if schedule.missed == "SKIP" and schedule.next_fire_at < self.now - LATE:
                    row |= {"disposition": "SKIPPED", "code": "MISSED"}
                else:
                    self.fire(told, schedule, row)
                if row["disposition"] == "FIRED":
                    schedule.last_fired_at = self.now
                schedule.move({"ONCE": self.now, "SKIP": self.now - LATE}.get(schedule.missed))
                rows.append({**row, "next_fire_at": plain(schedule.next_fire_at)})
                if schedule.missed != "ALL" or schedule.next_fire_at > self.now:
                    break
            schedule.updated_at = self.now
        return rows

    def fire(self, told: Told, schedule: Schedule, row: Row) -> None:
        """Start what a schedule starts for the instant of its cursor, unless that was done before."""
        at = schedule.next_fire_at
        instant = f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
        template = schedule.payload_template if isinstance(schedule.payload_template, dict) else {"payload": schedule.payload_template}
        payload = {**template, "_schedule": {
            "schedule_id": schedule.id, "schedule_name": schedule.name, "scheduled_for": instant}}  # fmt: skip
        if schedule.workflow_type:
            key = f"schedule/{schedule.id}/{instant}"
            scope = (schedule.workflow_type, schedule.organization_id, key)
            for graph in self.runs.values():
                if (graph.run.workflow_type, graph.run.organization_id, graph.run.idempotency_key) == scope:
                    row |= {"workflow_run_id": graph.run.id, "disposition": "SKIPPED", "code": "ALREADY_FIRED"}
                    return
            [started] = self.enqueue_workflow(told, schedule.workflow_type, schedule.workflow_steps, payload,
                                              schedule.organization_id, key)  # fmt: skip
            row["workflow_run_id"] = started["workflow_run_id"]
            return
        for job in self.jobs.values():
            if (job.schedule_id, job.scheduled_for) == (schedule.id, at):
                row |= {"job_id": job.id, "disposition": "SKIPPED", "code": "ALREADY_FIRED"}
                return
        fresh = [i for i, j in told.dump["job_queue"].items() if (j["schedule_id"], j["scheduled_for"]) == (schedule.id, plain(at))]
        job = self.new_job((fresh or [""])[0], str(schedule.job_type), payload=payload, stage="scheduled",
                           organization_id=schedule.organization_id, schedule_id=schedule.id, scheduled_for=at)  # fmt: skip
        row["job_id"] = job.id

    def run_maintenance(self, told: Told) -> list[Row]:
        """What it does to the ledger; how much there was to do of the rest is told, not foreseen."""
        done = {"reap": len(self.reap_expired_leases(told, 1000)), "fire": len(self.fire_due_schedules(told, 1000)),
                "gate_timeouts": self.time_out_gates(told), "prune": 0}  # fmt: skip
        is_due = any(s.is_active and s.next_fire_at <= self.now for s in self.schedules.values())
        more = {"reap": False, "fire": done["fire"] > 0 and is_due, "gate_timeouts": False}
        return [
            {**row, "affected": done.get(row["task"], row["affected"]), "more": more.get(row["task"], row["more"])}
            for row in told.rows
        ]
