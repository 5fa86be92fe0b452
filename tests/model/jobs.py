"""The model of jobs: definitions, jobs, leases, attempts, events, dead letters, keys, logs, what operators did."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from tests.model.base import EPOCH, HORIZON, MARK, Refused, Told, is_name, percent, plain, refuse_if

RELEASES = 2
ENDED = ("SUCCEEDED", "DEAD_LETTERED", "CANCELED")
Row = dict[str, Any]


@dataclass(slots=True)
class Definition:
    job_type: str
    created_at: datetime
    updated_at: datetime
    version: int = 1
    max_attempts: int = 8
    default_timeout_seconds: int = 900
    default_priority: int = 100
    is_enabled: bool = True
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    is_paused: bool = False
    paused_at: datetime | None = None
    paused_reason: str | None = None
    max_concurrency: int | None = None
    retry_base_ms: int = 5000
    retry_max_ms: int = 300_000
    retry_delays_ms: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Job:
    id: str
    job_type: str
    payload: Any
    priority: int
    max_attempts: int
    timeout_seconds: int
    next_run_at: datetime
    created_at: datetime
    updated_at: datetime
    organization_id: str | None = None
    stage: str = "queued"
    idempotency_key: str | None = None
    status: str = "PENDING"
    run_number: int = 1
    attempt: int = 0
    worker_id: str | None = None
    lease_token: int | None = None
    lease_expires_at: datetime | None = None
    last_heartbeat_at: datetime | None = None
    last_lease_token: int | None = None
    last_disposition: str | None = None
    release_count: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress_done: int | None = None
    progress_total: int | None = None
    checkpoint: Any = None
    output: Any = None
    status_reason: str | None = None
    last_error_code: str | None = None
    last_error_message: str | None = None
    workflow_run_id: str | None = None
    schedule_id: str | None = None
    scheduled_for: datetime | None = None
    request: Any = None


@dataclass(slots=True)
class Attempt:
    job_id: str
    run_number: int
    attempt: int
    worker_id: str
    lease_token: int
    claim_origin: str
    leased_at: datetime
    started_at: datetime | None
    finished_at: datetime | None = None
    disposition: str | None = None
    outcome: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    retry_delay_ms: int | None = None
    requested_retry_not_before: datetime | None = None
    effective_next_run_at: datetime | None = None
    retry_timing_source: str | None = None


def columns(of: Any) -> Row:
    return {f.name: plain(getattr(of, f.name)) for f in fields(of)}


class Jobs:
    """Every verb has the name and the parameters of its function, and gives the rows or raises the refusal."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.definitions: dict[str, Definition] = {}
        self.jobs: dict[str, Job] = {}
        self.attempts: dict[tuple[str, int], Attempt] = {}
        """By job and token; those of released claims go away."""
        self.events: dict[str, list[list[Any]]] = {}
        self.letters: dict[str, Row] = {}
        self.replays: dict[tuple[str, int, str], Row] = {}
        self.logs: dict[str, list[Row]] = {}
        self.actions: list[list[Any]] = []
        self.tokens: list[tuple[str, int]] = []
        """Every token ever issued, with its job."""
        self.jitter: dict[str, int] = {}
        self.last_id = self.floor = ""
        self.told = Told([], {})
        self.may_pass_over = False

    # What the tables must hold.

    def dump(self) -> Row:
        jobs = {j.id: {**columns(j), "request": j.request and (j.request == MARK and "redacted" or "kept"),
                       "progress_pct": percent(j.progress_done, j.progress_total)} for j in self.jobs.values()}  # fmt: skip
        return {
            "job_definitions": {d.job_type: columns(d) for d in self.definitions.values()},
            "job_queue": jobs,
            "job_attempts": {f"{a.job_id}/{a.run_number}/{a.attempt}": columns(a) for a in self.attempts.values()},
            "job_events": plain(self.events),
            "job_dead_letters": plain(self.letters),
            "job_replays": {r["replay_job_id"]: plain(r) for r in self.replays.values()},
            "job_logs": plain(self.logs),
            "operator_actions": self.actions,
        }

    def hear(self, told: Told) -> None:
        """A call begins."""
        self.told, self.floor = told, self.last_id

    def event(self, job: Job, what: str, payload: Row | None = None, *, attempt: int | None = None,
              stage: str | None = None, done: int | None = None, total: int | None = None) -> None:  # fmt: skip
        self.events.setdefault(job.id, []).append(
            [job.run_number, attempt, what, stage, done, total, plain(payload or {}), plain(self.now)]
        )

    def moments(self) -> dict[str, set[datetime]]:
        """When something ends or becomes due."""
        return {
            "lease": {j.lease_expires_at for j in self.jobs.values() if j.lease_expires_at},
            "job": {j.next_run_at for j in self.jobs.values() if j.status == "PENDING"},
        }

    def act(self, action: str, of: str | None, reason: str | None = None) -> None:
        self.actions.append([action, of, reason])

    def find(self, job_id: str, organization_id: str | None = None) -> Job:
        job = self.jobs.get(job_id)
        if job is None or (organization_id and job.organization_id != organization_id):
            raise Refused("job.not_found")
        return job

    # Definitions.

    def define_job(self, told: Told, job_type: str, version: int | None = None, max_attempts: int | None = None,
                   timeout_seconds: int | None = None, priority: int | None = None, is_enabled: bool | None = None,
                   max_concurrency: int | None = None, retry_base_ms: int | None = None,
                   retry_max_ms: int | None = None, retry_delays_ms: Row | None = None) -> None:  # fmt: skip
        old = self.definitions.get(job_type)
        new = old or Definition(job_type, self.now, self.now)
        given = {
            "version": version, "max_attempts": max_attempts, "default_timeout_seconds": timeout_seconds,
            "default_priority": priority, "max_concurrency": max_concurrency, "retry_base_ms": retry_base_ms,
            "retry_max_ms": retry_max_ms, "retry_delays_ms": retry_delays_ms,
        }  # fmt: skip
        if retry_base_ms is not None and retry_max_ms is None:
            given["retry_max_ms"] = max(new.retry_max_ms, retry_base_ms)
        base, most = retry_base_ms or new.retry_base_ms, given["retry_max_ms"] or new.retry_max_ms
        refuse_if(most < base, "job_definition.invalid_retry_policy")
        self._may_disable(new, is_enabled)
        changes = {k: v for k, v in given.items() if v is not None and v != getattr(new, k)}
        if changes.get("max_concurrency") == 0:  # lifts the limit
            changes["max_concurrency"] = None
            if new.max_concurrency is None:
                del changes["max_concurrency"]
        self.definitions[job_type] = new
        if changes or old is None:
            for name, value in changes.items():
                setattr(new, name, value)
            new.updated_at = self.now
            self.act("define_job", job_type)
        if is_enabled is not None:
            self._enable(new, is_enabled, None)

    def _may_disable(self, definition: Definition, on: bool | None) -> None:
        is_new = definition.is_enabled and on is False
        refuse_if(is_new and self.is_scheduled(definition.job_type), "job_definition.active_schedule_exists")

    def _enable(self, definition: Definition, on: bool, reason: str | None) -> None:
        if definition.is_enabled != on:
            self._may_disable(definition, on)
            definition.is_enabled, definition.updated_at = on, self.now
            definition.disabled_at, definition.disabled_reason = (None, None) if on else (self.now, reason)
            self.act("enable_job_type" if on else "disable_job_type", definition.job_type, reason)

    def _pause(self, definition: Definition, on: bool, reason: str | None) -> None:
        if definition.is_paused != on:
            definition.is_paused, definition.updated_at = on, self.now
            definition.paused_at, definition.paused_reason = (self.now, reason) if on else (None, None)
            self.act("pause_job_type" if on else "resume_job_type", definition.job_type, reason)

    def _defined(self, job_type: str) -> Definition:
        refuse_if(job_type not in self.definitions, "job.definition_not_found")
        return self.definitions[job_type]

    def enable_job_type(self, told: Told, job_type: str) -> None:
        self._enable(self._defined(job_type), True, None)

    def disable_job_type(self, told: Told, job_type: str, reason: str | None = None) -> None:
        self._enable(self._defined(job_type), False, reason)

    def pause_job_type(self, told: Told, job_type: str, reason: str | None = None) -> None:
        self._pause(self._defined(job_type), True, reason)

    def resume_job_type(self, told: Told, job_type: str) -> None:
        self._pause(self._defined(job_type), False, None)

    def is_scheduled(self, job_type: str) -> bool:
        return False

    def enabled(self, job_type: str, code: str = "job.definition_not_found_or_disabled") -> Definition:
        definition = self.definitions.get(job_type)
        if definition is None or not definition.is_enabled:
            raise Refused(code)
        return definition

    # Enqueue.

    def new_job(self, job_id: str, job_type: str, *, payload: Any, event: Row | None = None, **settings: Any) -> Job:
        """A job is born; ids rise, so that jobs of one instant are claimed in the order of their birth."""
        assert job_id > self.floor, "ids do not rise"
        self.last_id = max(self.last_id, job_id)
        definition = self.definitions[job_type]
        given = {k: v for k, v in settings.items() if v is not None}
        job = Job(job_id, job_type, payload, **{
            "priority": definition.default_priority, "max_attempts": definition.max_attempts,
            "timeout_seconds": definition.default_timeout_seconds, "next_run_at": self.now,
            "created_at": self.now, "updated_at": self.now, **given,
        })  # fmt: skip
        self.jobs[job_id] = job
        self.event(job, "ENQUEUED", {"job_type": job_type, **(event or {})}, stage=job.stage)
        return job

    def enqueue_problem(self, **given: Any) -> str | None:
        run_at, key = given.get("run_at"), given.get("idempotency_key")
        if (n := given.get("max_attempts")) is not None and not 1 <= n <= 10_000:
            return "job.invalid_max_attempts"
        if (n := given.get("timeout_seconds")) is not None and not 1 <= n <= 2_592_000:
            return "job.invalid_timeout"
        if run_at is not None and not EPOCH < run_at <= self.now + HORIZON:
            return "job.invalid_run_at"
        if key is not None and not is_name(key, 512):
            return "job.invalid_idempotency_key"
        return None if is_name(given.get("stage", "queued")) else "job.invalid_stage"

    def _enqueue(self, told: Told, job_type: str, payload: Any = None, **given: Any) -> tuple[str, Job]:
        given = {"stage": "queued", **{k: v for k, v in given.items() if v is not None}}
        payload = {} if payload is None else payload
        if problem := self.enqueue_problem(**given):
            raise Refused(problem)
        scope = (job_type, given.get("organization_id"), given.get("idempotency_key"))
        request = {
            "payload": payload,
            **{k: v for k, v in given.items() if k not in ("organization_id", "idempotency_key")},
        }
        if scope[2] is not None:
            for job in self.jobs.values():
                if (job.job_type, job.organization_id, job.idempotency_key) == scope:
                    refuse_if(job.request not in (request, MARK), "job.idempotency_conflict")
                    return "EXISTING", job
            given["request"] = request
        self.enabled(job_type)
        given["next_run_at"] = given.pop("run_at", None)
        return "INSERTED", self.new_job(told.take("job_id", self.jobs), job_type, payload=payload, **given)

    def enqueue_job(self, told: Told, job_type: str, payload: Any = None, **given: Any) -> list[Row]:
        disposition, job = self._enqueue(told, job_type, payload, **given)
        return [{"job_id": job.id, "disposition": disposition, "status": job.status, "run_number": job.run_number}]

    def enqueue_jobs(self, told: Told, jobs: list[Any]) -> list[Row]:
        rows = []
        for ordinal, item in enumerate(jobs, 1):
            row = {"ordinal": ordinal, "job_id": None, "disposition": "INVALID", "status": None, "run_number": None}
            try:
                disposition, job = self._enqueue(told, **{
                    **item, **{k: datetime.fromisoformat(item[k]) for k in ("run_at",) if item.get(k)}})  # fmt: skip
                row |= {
                    "job_id": job.id,
                    "disposition": disposition,
                    "status": job.status,
                    "run_number": job.run_number,
                }
                rows.append({**row, "code": None})
            except Refused as refused:
                if refused.code == "job.idempotency_conflict":
                    [job] = [j for j in self.jobs.values() if (j.job_type, j.organization_id, j.idempotency_key)
                             == (item["job_type"], item.get("organization_id"), item["idempotency_key"])]  # fmt: skip
                    row |= {
                        "job_id": job.id,
                        "disposition": "CONFLICT",
                        "status": job.status,
                        "run_number": job.run_number,
                    }
                rows.append({**row, "code": refused.code})
        return rows

    # Claim, lease, progress.

    def ready(self, job_types: list[str], max_jobs: int, among: list[Job] | None = None) -> list[Job]:
        """What a claim gets: by priority, then by due time, then by age, and of a limited type as many as have room."""
        room = {
            t: d.max_concurrency - sum(
                j.job_type == t and j.lease_token is not None and j.lease_expires_at > self.now  # type: ignore[operator]
                for j in self.jobs.values())
            for t, d in self.definitions.items() if d.max_concurrency
        }  # fmt: skip
        due = [
            j for j in (self.jobs.values() if among is None else among)
            if j.status == "PENDING" and j.job_type in job_types and j.next_run_at <= self.now
            and not self.definitions[j.job_type].is_paused
        ]  # fmt: skip
        picked: list[Job] = []
        for job in sorted(due, key=lambda j: (-j.priority, j.next_run_at, j.id)):
            if len(picked) < max_jobs and room.get(job.job_type, 1) > 0:
                picked.append(job)
                if job.job_type in room:
                    room[job.job_type] -= 1
        return picked

    def claim_jobs(self, told: Told, worker_id: str, job_types: list[str], max_jobs: int = 1, lease_seconds: int = 60,
                   prestart: bool = False) -> list[Row]:  # fmt: skip
        refuse_if(not 1 <= max_jobs <= 1000, "job.invalid_limit")
        refuse_if(not 1 <= lease_seconds <= 86400, "job.invalid_lease_duration")
        rows = []
        last_token = max((t for _, t in self.tokens), default=0)
        picked = self.ready(job_types, max_jobs)
        if self.may_pass_over:
            taken = [self.jobs[r["job_id"]] for r in told.rows]
            room = self.ready(job_types, 1000, among=taken)
            assert room == taken, "claimed what is not due, out of order, or beyond a limit"
            assert len(taken) <= max_jobs, "claimed more than was asked for"
            assert taken or not picked, "a claim gave nothing while jobs were ready"
            picked = taken
        for job in picked:
            token = told.take("lease_token")
            assert isinstance(token, int), "not all were claimed"
            # Which of one batch draws first is nobody's promise.
            assert token > last_token, "tokens do not rise"
            assert token not in [t for _, t in self.tokens], "a token was given out twice"
            self.tokens.append((job.id, token))
            job.status, job.attempt, job.worker_id, job.lease_token = "LEASED", job.attempt + 1, worker_id, token
            job.lease_expires_at = self.now + timedelta(seconds=lease_seconds)
            job.last_heartbeat_at = job.updated_at = self.now
            job.started_at = job.started_at or self.now
            if not prestart:
                job.stage = "running"
            origin = "WORKER_PRESTART" if prestart else "DIRECT"
            self.attempts[job.id, token] = Attempt(
                job.id, job.run_number, job.attempt, worker_id, token, origin, self.now, None if prestart else self.now
            )
            self.event(job, "LEASED", {"worker_id": worker_id, "lease_duration_seconds": lease_seconds},
                       attempt=job.attempt, stage=job.stage)  # fmt: skip
            self.step_of(job, "RUNNING")
            rows.append(self.as_claimed(job))
        return rows

    def as_claimed(self, job: Job) -> Row:
        return {
            **{k: v for k, v in columns(job).items() if k in (
                "lease_token", "job_type", "organization_id", "payload", "checkpoint", "run_number", "attempt",
                "max_attempts", "priority", "timeout_seconds", "lease_expires_at", "workflow_run_id", "created_at")},
            "job_id": job.id, "inputs_omitted": False, **self.inputs_of(job),
        }  # fmt: skip

    def leased_jobs(self, told: Told, worker_id: str, known_tokens: list[int]) -> list[Row]:
        mine = [j for j in self.jobs.values() if j.worker_id == worker_id and self.is_live(j, j.lease_token)]
        return [self.as_claimed(j) for j in sorted(mine, key=lambda j: j.lease_token or 0) if j.lease_token not in known_tokens]

    def inputs_of(self, job: Job) -> Row:
        return {"step_key": None, "inputs": None}

    def step_of(self, job: Job, status: str, **end: Any) -> None:
        """Tell the step of a workflow job what became of it."""

    def is_live(self, job: Job | None, token: Any) -> bool:
        """The fence."""
        return bool(job and job.status == "LEASED" and job.lease_token == token and job.lease_expires_at > self.now)  # type: ignore[operator]

    def require_lease(self, job_id: str, token: int) -> Job:
        job = self.find(job_id)
        refuse_if(job.status == "CANCELED" and job.last_lease_token == token, "job.canceled")
        refuse_if(not self.is_live(job, token), "job.lease_owner_mismatch")
        return job

    def start_jobs(self, told: Told, job_ids: list[str], lease_tokens: list[int]) -> list[Row]:
        rows = []
        for job_id, token in zip(job_ids, lease_tokens, strict=True):
            job = self.jobs.get(job_id)
            live = self.is_live(job, token)
            rows.append({"job_id": job_id, "disposition": "STARTED" if live else "LOST"})
            if job and live and self.attempts[job_id, token].started_at is None:
                self.attempts[job_id, token].started_at = job.updated_at = self.now
                job.stage = "running"
                self.event(job, "STAGE_CHANGED", attempt=job.attempt, stage="running")
        return rows

    def heartbeat_jobs(self, told: Told, job_ids: list[str], lease_tokens: list[int], lease_seconds: int) -> list[Row]:
        rows = []
        for job_id, token in zip(job_ids, lease_tokens, strict=True):
            job, expiry = self.jobs.get(job_id), None
            canceled = job and job.status == "CANCELED" and job.last_lease_token == token
            if job and self.is_live(job, token):
                job.last_heartbeat_at = job.updated_at = self.now
                job.lease_expires_at = expiry = self.now + timedelta(seconds=lease_seconds)
            told_as = "EXTENDED" if expiry else "CANCELED" if canceled else "LOST"
            rows.append({"job_id": job_id, "disposition": told_as, "lease_expires_at": plain(expiry)})
        return rows

    def report_progress(self, told: Told, job_id: str, lease_token: int, done: int | None = None,
                        total: int | None = None, checkpoint: Any = None, stage: str | None = None) -> list[Row]:  # fmt: skip
        job = self.require_lease(job_id, lease_token)
        refuse_if(self.is_too_far(job, done, total), "job.invalid_progress")
        self._progress(job, done, total, checkpoint)
        job.updated_at = self.now
        if stage is not None:
            job.stage = stage
            self.event(job, "STAGE_CHANGED", attempt=job.attempt, stage=stage)
        if (done, total) != (None, None):
            self.event(job, "PROGRESS", attempt=job.attempt, done=done, total=total)
        pct = percent(job.progress_done, job.progress_total)
        return [{"job_id": job.id, "stage": job.stage, "progress_done": job.progress_done,
                 "progress_total": job.progress_total, "progress_pct": pct}]  # fmt: skip

    @staticmethod
    def is_too_far(job: Job, done: int | None, total: int | None) -> bool:
        merged = [job.progress_done if done is None else done, job.progress_total if total is None else total]
        return any(n is not None and n < 0 for n in merged) or (None not in merged and merged[0] > merged[1])  # type: ignore[operator]

    @staticmethod
    def _progress(job: Job, done: int | None, total: int | None, checkpoint: Any) -> None:
        job.progress_done = job.progress_done if done is None else done
        job.progress_total = job.progress_total if total is None else total
        job.checkpoint = job.checkpoint if checkpoint is None else checkpoint

    def log_job(self, told: Told, job_id: str, level: str, message: str, payload: Any = None,
                lease_token: int | None = None) -> list[Row]:  # fmt: skip
        refuse_if(not is_name(level) or not is_name(message, 8192), "job.invalid_log")
        job = self.find(job_id)
        refuse_if(lease_token is not None and not self.is_live(job, lease_token), "job.lease_owner_mismatch")
        line = {"run_number": job.run_number, "attempt": job.attempt, "level": level, "message": message}
        self.logs.setdefault(job_id, []).append({**line, "payload": payload or {}, "occurred_at": self.now})
        return [{"log_job": told.take("log_job")}]

    # The end of a lease.

    def finish_jobs(self, told: Told, outcomes: list[Any]) -> list[Row]:
        """Each item is judged by what the batch found; then all are written."""
        judged = [self.judge(n, item, outcomes[: n - 1]) for n, item in enumerate(outcomes, 1)]
        rows = []
        for item, (row, job) in zip(outcomes, judged, strict=True):
            if job is not None and row["disposition"] is None:
                self.settle(told, job, item, row)
            elif job is not None and row["code"] == "job.canceled" and job.lease_token == item["lease_token"]:
                # The handler that was canceled says that it is quiet.
                job.lease_token = job.lease_expires_at = None
                job.updated_at = self.now
                self.is_quiet(job)
            rows.append(row)
        return rows

    def is_quiet(self, job: Job) -> None:
        """The last trace of a canceled lease is gone."""

    def judge(self, ordinal: int, item: Any, before: list[Any]) -> tuple[Row, Job | None]:
        """The row of one outcome, its disposition open while the lease is live."""
        row = {"ordinal": ordinal, "job_id": None, "disposition": "INVALID", "replayed": False, "status": None,
               "next_run_at": None, "code": None, "progress_done": None, "progress_total": None}  # fmt: skip
        if not isinstance(item, dict):
            return {**row, "code": "job.invalid_item"}, None
        job_id, token, outcome = item["job_id"], item["lease_token"], item["outcome"]
        row["job_id"] = job_id
        if problem := self.outcome_problem(item):
            return {**row, "code": problem}, None
        if any(isinstance(b, dict) and (b["job_id"], b["lease_token"]) == (job_id, token) for b in before):
            return {**row, "code": "job.duplicate_item"}, None
        job = self.jobs.get(job_id)
        if job is None:
            return {**row, "disposition": "LEASE_LOST", "code": "job.not_found"}, None
        row["status"] = job.status
        if self.is_live(job, token):
            if self.is_too_far(job, item.get("done"), item.get("total")):
                return {**row, "code": "job.invalid_completion_progress"}, None
            if outcome == "CONTINUE" and not self.may_continue(job):
                return {**row, "code": "job.workflow_handler_continuation_not_enabled"}, None
            return {**row, "disposition": None}, job
        past = self.attempts.get((job_id, token))
        disposition = past.disposition if past else None
        if past is None and job.last_lease_token == token and job.last_disposition == "RELEASED":
            disposition = "RELEASED"
        same = {"SUCCEEDED": "SUCCEEDED", "CONTINUED": "CONTINUE", "RELEASED": "RELEASE"}.get(
            disposition or ""
        ) == outcome
        if past and past.outcome:
            same = outcome == "FAILED" and past.outcome == item.get("kind", "RETRYABLE")
        if not same:
            row |= {"disposition": "LEASE_LOST",
                    "code": "job.canceled" if disposition == "CANCELED" else "job.lease_owner_mismatch"}  # fmt: skip
            return row, job
        row |= {"disposition": disposition, "replayed": True}
        if past:
            row |= {"next_run_at": plain(past.effective_next_run_at), "code": past.error_code}
        if outcome in ("SUCCEEDED", "CONTINUE"):
            row |= {"progress_done": job.progress_done, "progress_total": job.progress_total}
        return row, job

    def may_continue(self, job: Job) -> bool:
        return True

    def outcome_problem(self, item: Row) -> str | None:
        outcome = item["outcome"]
        known = {
            "SUCCEEDED": {"output", "checkpoint", "done", "total"}, "CONTINUE": {"delay", "checkpoint", "done", "total"},
            "FAILED": {"kind", "error_code", "error_message", "not_before"}, "RELEASE": {"delay", "reason"},
        }  # fmt: skip
        if outcome not in known:
            return "job.invalid_outcome"
        if set(item) - {"job_id", "lease_token", "outcome"} - known[outcome]:
            return "job.unknown_field"
        if outcome == "FAILED" and item.get("kind", "RETRYABLE") not in (
            "RETRYABLE",
            "TERMINAL",
            "PANICKED",
            "TIMEOUT",
        ):
            return "job.invalid_failure_kind"
        if outcome == "FAILED" and not is_name(item.get("error_code")):
            return "job.invalid_error_code"
        not_before = item.get("not_before")
        if not_before and not EPOCH < datetime.fromisoformat(not_before) <= self.now + HORIZON:
            return "job.invalid_retry_timing"
        if not 0 <= item.get("delay", 0) <= HORIZON.total_seconds():
            return "job.invalid_continuation_delay" if outcome == "CONTINUE" else "job.invalid_retry_delay"
        if outcome == "RELEASE" and not is_name(item.get("reason"), 8192):
            return "job.invalid_reason"
        return None

    def settle(self, told: Told, job: Job, item: Row, row: Row) -> None:
        """A live lease ends with this outcome."""
        outcome, end = item["outcome"], self.attempts[job.id, job.lease_token]  # type: ignore[index]
        self._progress(job, item.get("done"), item.get("total"), item.get("checkpoint"))
        delay_ms = ceil(round(item.get("delay", 0) * 1e6) / 1000)
        due = self.now + timedelta(milliseconds=delay_ms)
        if outcome == "SUCCEEDED":
            self._unlease(job, end, "SUCCEEDED")
            job.status, job.finished_at, job.stage, job.output = "SUCCEEDED", self.now, "completed", item.get("output")
            self.event(job, "SUCCEEDED", attempt=job.attempt, stage="completed",
                       done=item.get("done"), total=item.get("total"))  # fmt: skip
            self.step_of(job, "SUCCEEDED", output=job.output)
        elif outcome == "CONTINUE":
            self._unlease(job, end, "CONTINUED", reason="HANDLER_CONTINUATION")
            self.event(job, "REQUEUED", {
                "reason": "HANDLER_CONTINUATION", "requeue_kind": "HANDLER_CONTINUATION",
                "next_run_number": job.run_number + 1, "next_run_at": due,
                "delay_microseconds": delay_ms * 1000,
            }, attempt=job.attempt, stage="queued", done=item.get("done"), total=item.get("total"))  # fmt: skip
            job.run_number, job.attempt, job.release_count, job.started_at = job.run_number + 1, 0, 0, None
            job.stage, job.next_run_at = "queued", due
            self.step_of(job, "ENQUEUED", reason=job.status_reason)
        elif outcome == "RELEASE":
            refund = job.release_count < RELEASES
            if not refund and job.attempt >= job.max_attempts:
                text = "released more often than a run may be, on its last attempt"
                self._fail(told, job, end, "TERMINAL", "job.released_too_often", text)
            else:
                self._release(job, end, item["reason"], due, refund=refund)
        else:
            not_before = item.get("not_before") and datetime.fromisoformat(item["not_before"])
            self._fail(told, job, end, item.get("kind", "RETRYABLE"), item["error_code"], item.get("error_message"),
                       not_before=not_before)  # fmt: skip
        row |= {"disposition": end.disposition, "status": job.status, "code": end.error_code,
                "next_run_at": plain(job.next_run_at) if job.status == "PENDING" else None}  # fmt: skip
        if outcome in ("SUCCEEDED", "CONTINUE"):
            row |= {"progress_done": job.progress_done, "progress_total": job.progress_total}

    def _unlease(self, job: Job, end: Attempt, disposition: str, *, reason: str | None = None,
                 code: str | None = None, message: str | None = None) -> None:  # fmt: skip
        job.status, job.worker_id, job.lease_token, job.lease_expires_at = "PENDING", None, None, None
        job.last_lease_token = job.last_disposition = None
        job.updated_at, job.status_reason = self.now, reason
        job.last_error_code, job.last_error_message = code, message
        end.finished_at, end.disposition, end.error_code, end.error_message = self.now, disposition, code, message

    def _release(self, job: Job, end: Attempt, reason: str, due: datetime, *, refund: bool = True) -> None:
        self._unlease(job, end, "RELEASED", reason=reason)
        job.last_lease_token, job.last_disposition = end.lease_token, "RELEASED"
        job.release_count, job.next_run_at = job.release_count + 1, due
        self.event(job, "REQUEUED", {"reason": reason, "requeue_kind": "RELEASE", "refunded": refund,
                                     "next_run_at": due}, attempt=job.attempt)  # fmt: skip
        if refund:
            del self.attempts[job.id, end.lease_token]
            job.started_at = None if job.attempt == 1 else job.started_at
            job.attempt -= 1
        self.step_of(job, "ENQUEUED", reason=reason, uncharged=end.attempt if refund else None)

    def _fail(self, told: Told, job: Job, end: Attempt, kind: str, code: str, message: str | None, *,
              not_before: datetime | None = None, reaped_after: timedelta | None = None, note: Row | None = None) -> None:  # fmt: skip
        dead = kind in ("TERMINAL", "PANICKED") or job.attempt >= job.max_attempts
        self._unlease(job, end, "DEAD_LETTERED" if dead else "RETRY_SCHEDULED", reason=kind, code=code, message=message)
        end.outcome = kind
        note = note or {}
        self.event(
            job, "FAILED", {"kind": kind, "error_code": code, "error_message": message, **note}, attempt=job.attempt
        )
        if dead:
            job.status, job.finished_at, job.output = "DEAD_LETTERED", self.now, None
            self.event(job, "DEAD_LETTERED", {"kind": kind, "error_code": code, **note}, attempt=job.attempt)
            self.letters[job.id] = {
                "job_id": job.id, "job_type": job.job_type, "organization_id": job.organization_id, "run_number": job.run_number,
                "attempt": job.attempt, "error_code": code, "error_message": message, "payload_snapshot": job.payload,
                "checkpoint_snapshot": job.checkpoint, "failed_at": self.now,
            }  # fmt: skip
            self.step_of(job, "FAILED", reason=kind, code=code, message=message)
            return
        source, due = self._retry_at(told, job, end, reaped_after)
        if not_before and not_before > due:
            source, due = "HANDLER_NOT_BEFORE", not_before
        end.requested_retry_not_before, end.effective_next_run_at, end.retry_timing_source = not_before, due, source
        end.retry_delay_ms = -(-(due - self.now) // timedelta(milliseconds=1))
        job.next_run_at = due
        self.event(job, "RETRY_SCHEDULED", {
            "kind": kind, "retry_delay_ms": end.retry_delay_ms, "next_run_at": due,
            "requested_retry_not_before": not_before, "retry_timing_source": source, **note}, attempt=job.attempt)  # fmt: skip
        self.step_of(job, "ENQUEUED", reason=kind, code=code, message=message)

    def _retry_at(self, told: Told, job: Job, end: Attempt, reaped_after: timedelta | None) -> tuple[str, datetime]:
        if reaped_after is not None:
            return "REAPER", self.now + reaped_after
        policy = self.definitions[job.job_type]
        if end.error_code in policy.retry_delays_ms:
            return "ERROR_CODE", self.now + timedelta(milliseconds=policy.retry_delays_ms[end.error_code])
        delay = min(policy.retry_base_ms * 2 ** min(job.attempt, 10), policy.retry_max_ms)
        if job.id not in self.jitter:
            # Up to half a second either way, the job's own for ever: learned from the first delay without a hint.
            seen = told.dump["job_attempts"][f"{job.id}/{end.run_number}/{end.attempt}"]
            if seen["retry_timing_source"] != "POLICY":
                return "POLICY", self.now
            self.jitter[job.id] = seen["retry_delay_ms"] - delay
            assert -500 <= self.jitter[job.id] <= 500, "jitter out of bounds"
        return "POLICY", self.now + timedelta(milliseconds=max(1000, delay + self.jitter[job.id]))

    def one(self, told: Told, item: Row) -> list[Row]:
        """A verb for one job raises what the batch reports, and then nothing is written."""
        row, job = self.judge(1, item, [])
        if row["disposition"] in ("INVALID", "LEASE_LOST"):
            raise Refused(row["code"])
        if job is not None and row["disposition"] is None:
            self.settle(told, job, item, row)
        return [row]

    def succeed_job(self, told: Told, **item: Any) -> list[Row]:
        return self.one(told, {"outcome": "SUCCEEDED", **item})

    def fail_job(self, told: Told, **item: Any) -> list[Row]:
        if item.get("not_before"):
            item["not_before"] = item["not_before"].isoformat()
        return self.one(told, {"outcome": "FAILED", **item})

    def continue_job(self, told: Told, delay: timedelta, **item: Any) -> list[Row]:
        return self.one(told, {"outcome": "CONTINUE", "delay": delay.total_seconds(), **item})

    def release_job(self, told: Told, delay: timedelta, **item: Any) -> list[Row]:
        return self.one(told, {"outcome": "RELEASE", "delay": delay.total_seconds(), **item})

    def reap_expired_leases(
        self, told: Told, max_jobs: int = 100, retry_delay: timedelta = timedelta(seconds=30)
    ) -> list[Row]:
        rows = []
        held = [j for j in self.jobs.values() if j.lease_token is not None and j.lease_expires_at < self.now]  # type: ignore[operator]
        for job in sorted(held, key=lambda j: (j.lease_expires_at, j.id))[:max_jobs]:
            if job.status == "CANCELED":
                job.lease_token = job.lease_expires_at = None
                job.updated_at = self.now
                self.is_quiet(job)
                continue
            end = self.attempts[job.id, job.lease_token]  # type: ignore[index]
            row = {"job_id": job.id, "job_type": job.job_type, "run_number": job.run_number, "attempt": job.attempt,
                   "worker_id": job.worker_id, "code": "job.lease_expired"}  # fmt: skip
            if end.claim_origin == "WORKER_PRESTART" and end.started_at is None:
                row["code"] = "LEASE_EXPIRED_BEFORE_RUNNING_PERSISTED"
                self._release(job, end, row["code"], self.now)
            else:
                silent = job.last_heartbeat_at <= end.started_at  # type: ignore[operator]
                self._fail(told, job, end, "LEASE_EXPIRED", "job.lease_expired",
                           "the lease ended without a word of its worker", reaped_after=retry_delay,
                           note={"started_without_renewal_heartbeat": silent})  # fmt: skip
            row |= {
                "disposition": end.disposition,
                "next_run_at": plain(job.next_run_at) if job.status == "PENDING" else None,
            }
            rows.append(row)
        return rows

    # What operators do with jobs.

    def cancel(self, job: Job, reason: str | None) -> None:
        live = job.lease_expires_at if job.lease_expires_at and job.lease_expires_at > self.now else None
        if job.lease_token is not None:
            end = self.attempts[job.id, job.lease_token]
            end.finished_at, end.disposition = self.now, "CANCELED"
            job.last_lease_token, job.last_disposition = job.lease_token, "CANCELED"
        self.event(job, "CANCELED", {"reason": reason, "lease_quiesces_at": live}, attempt=job.attempt or None)
        job.status, job.worker_id, job.status_reason = "CANCELED", None, reason or "CANCELED"
        job.finished_at = job.updated_at = self.now
        job.lease_token, job.lease_expires_at = (job.lease_token, live) if live else (None, None)

    def cancel_job(
        self, told: Told, job_id: str, reason: str | None = None, organization_id: str | None = None
    ) -> list[Row]:
        job = self.find(job_id, organization_id)
        refuse_if(job.status in ("SUCCEEDED", "DEAD_LETTERED"), "job.invalid_state_transition")
        row = {"job_id": job_id, "disposition": "UNCHANGED", "status": "CANCELED"}
        if job.status != "CANCELED":
            row["disposition"] = "CANCELED"
            self.cancel(job, reason)
            self.act("cancel_job", job_id, reason)
            self.step_of(job, "CANCELED", reason=job.status_reason)
        live = job.lease_expires_at and job.lease_expires_at > self.now
        return [{**row, "lease_quiesces_at": plain(job.lease_expires_at) if live else None}]

    def requeue(self, job: Job, reason: str | None, kind: str, *, reset: bool) -> Row:
        self.event(job, "REQUEUED", {
            "reason": reason, "requeue_kind": kind, "state_policy": "RESET" if reset else "PRESERVE",
            "next_run_number": job.run_number + 1, "next_run_at": self.now}, attempt=job.attempt or None)  # fmt: skip
        job.status, job.run_number, job.attempt, job.release_count = "PENDING", job.run_number + 1, 0, 0
        job.next_run_at = job.updated_at = self.now
        job.started_at = job.finished_at = job.output = job.lease_token = job.lease_expires_at = None
        job.last_lease_token = job.last_disposition = job.last_error_code = job.last_error_message = None
        job.stage, job.status_reason = "queued", reason or "REQUEUED"
        if reset:
            job.progress_done = job.progress_total = job.checkpoint = None
        return {"job_id": job.id, "disposition": "REQUEUED", "status": "PENDING", "run_number": job.run_number}

    def requeue_job(self, told: Told, job_id: str, reason: str | None = None, expected_status: str | None = None,
                    expected_run_number: int | None = None, reset_state: bool = True,
                    organization_id: str | None = None) -> list[Row]:  # fmt: skip
        job = self.find(job_id, organization_id)
        refuse_if(job.workflow_run_id, "job.workflow_requeue_not_supported")
        expected = (expected_status or job.status, expected_run_number or job.run_number)
        refuse_if(expected != (job.status, job.run_number), "job.requeue_expectation_mismatch")
        refuse_if(
            job.status not in ("DEAD_LETTERED", "CANCELED") or job.payload == MARK, "job.invalid_state_transition"
        )
        refuse_if(job.lease_expires_at and job.lease_expires_at > self.now, "job.cancellation_not_quiesced")
        kind = "COMPARE_AND_REQUEUE" if expected_status or expected_run_number else "BASIC"
        row = self.requeue(job, reason, kind, reset=reset_state)
        self.act("requeue_job", job_id, reason)
        return [row]

    def redrive_dead_letters(self, told: Told, reason: str, job_type: str | None = None, error_code: str | None = None,
                             max_jobs: int = 100) -> list[Row]:  # fmt: skip
        dead = [
            self.jobs[i] for i, letter in self.letters.items()
            if self.jobs[i].status == "DEAD_LETTERED" and not self.jobs[i].workflow_run_id and self.jobs[i].payload != MARK
            and letter["job_type"] == (job_type or letter["job_type"])
            and error_code in (None, letter["error_code"])
        ]  # fmt: skip
        dead.sort(key=lambda j: (self.letters[j.id]["failed_at"], j.id))
        if dead:
            self.act("redrive_dead_letters", None, reason)
        return [self.requeue(job, reason, "REDRIVE", reset=True) for job in dead[:max_jobs]]

    def replay_job(
        self, told: Told, job_id: str, request_key: str, reason: str, organization_id: str | None = None
    ) -> list[Row]:
        source = self.find(job_id, organization_id)
        refuse_if(source.workflow_run_id, "job.workflow_requeue_not_supported")
        refuse_if(source.status != "SUCCEEDED", "job.invalid_state_transition")
        scope = (job_id, source.run_number, request_key)
        if past := self.replays.get(scope):
            refuse_if(past["reason"] != reason, "job.replay_idempotency_conflict")
            return [{"job_id": past["replay_job_id"], "disposition": "EXISTING"}]
        refuse_if(source.payload == MARK, "job.invalid_state_transition")
        self.enabled(source.job_type)
        job = self.new_job(
            told.take("job_id", self.jobs), source.job_type, payload=source.payload, priority=source.priority,
            max_attempts=source.max_attempts, timeout_seconds=source.timeout_seconds,
            organization_id=source.organization_id,
            event={"replayed_from_job_id": job_id, "replayed_from_run_number": source.run_number, "reason": reason},
        )  # fmt: skip
        self.replays[scope] = {"replay_job_id": job.id, "source_job_id": job_id, "source_run_number": source.run_number,
                               "request_key": request_key, "reason": reason, "created_at": self.now}  # fmt: skip
        self.act("replay_job", job_id, reason)
        return [{"job_id": job.id, "disposition": "INSERTED"}]

    def correct_payload(self, told: Told, job_id: str, payload: Any, reason: str) -> list[Row]:
        job = self.find(job_id)
        refuse_if(job.status != "PENDING", "job.invalid_state_transition")
        row = {"job_id": job_id, "disposition": "UNCHANGED", "status": "PENDING"}
        if job.payload != payload:
            row["disposition"] = "CORRECTED"
            job.payload, job.updated_at = payload, self.now
            self.event(job, "PAYLOAD_CORRECTED", {"reason": reason, "by": "owner"}, attempt=job.attempt or None)
            self.act("correct_payload", job_id, reason)
            self.step_of(job, "CORRECTED", payload=payload)
        return [row]

    def redact_job(self, told: Told, job_id: str, reason: str) -> list[Row]:
        job = self.find(job_id)
        refuse_if(job.status not in ENDED, "job.invalid_state_transition")
        row = {"job_id": job_id, "disposition": "UNCHANGED", "status": job.status}
        lines = self.logs.get(job_id, [])
        if job.payload == MARK and all(line["message"] == "[redacted]" for line in lines):
            return [row]
        job.payload, job.updated_at = MARK, self.now
        for name in ("checkpoint", "output", "request"):
            setattr(job, name, None if getattr(job, name) is None else MARK)
        gone = "[redacted]"
        job.last_error_message = job.last_error_message and gone
        for attempt in self.attempts.values():
            if attempt.job_id == job_id:
                attempt.error_message = attempt.error_message and gone
        if letter := self.letters.get(job_id):
            kept = None if letter["checkpoint_snapshot"] is None else MARK
            letter |= {"payload_snapshot": MARK, "error_message": gone, "checkpoint_snapshot": kept}
        for line in lines:
            line |= {"message": gone, "payload": MARK}
        for event in self.events[job_id]:
            if "error_message" in event[6]:
                event[6] = {k: v for k, v in event[6].items() if k != "error_message"} | MARK
        self.event(job, "REDACTED", {"reason": reason, "by": "owner"}, attempt=job.attempt or None)
        self.act("redact_job", job_id, reason)
        return [{**row, "disposition": "REDACTED"}]
