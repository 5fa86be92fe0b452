"""What the SQL functions return: one frozen dataclass per composite type, fields in its order.

A contract test holds these equal to `sql/migrations/0006_results.sql`. Columns of type jsonb hold the
decoded value, or an `Undecodable` where the database stores JSON that Python refuses to parse.
"""

# ruff: noqa: D101 - COMMENT ON says what the types mean.
from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

Json: TypeAlias = Any
"""Any JSON value, or `Undecodable`."""
Seconds: TypeAlias = float | timedelta
"""A span of time: seconds, or a timedelta."""

JobStatus = Literal["PENDING", "LEASED", "SUCCEEDED", "DEAD_LETTERED", "CANCELED"]
FailureKind = Literal["RETRYABLE", "TERMINAL", "PANICKED", "TIMEOUT", "LEASE_EXPIRED"]
WorkflowStatus = Literal["RUNNING", "WAITING_FOR_EXTERNAL", "SUCCEEDED", "COMPLETED_WITH_ERRORS", "CANCELED"]
StepStatus = Literal["BLOCKED", "WAITING_FOR_EXTERNAL", "ENQUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"]
Missed = Literal["ONCE", "SKIP", "ALL"]
StepOutcome = Literal["SUCCEEDED", "FAILED", "CANCELED"]


@dataclass(frozen=True, slots=True)
class Undecodable:
    """JSON that is legal in PostgreSQL and not in Python: digits or nesting beyond its limits."""

    reason: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class EnqueuedJob:
    job_id: UUID
    disposition: Literal["INSERTED", "EXISTING"]
    status: JobStatus
    run_number: int


@dataclass(frozen=True, slots=True)
class EnqueuedItem:
    ordinal: int
    job_id: UUID | None
    disposition: Literal["INSERTED", "EXISTING", "CONFLICT", "INVALID"]
    status: JobStatus | None
    run_number: int | None
    code: str | None


@dataclass(frozen=True, slots=True)
class ClaimedJob:
    """A leased job. `lease_token` is the proof every later call asks for; `inputs` is step key -> output."""

    job_id: UUID
    lease_token: int
    job_type: str
    organization_id: UUID | None
    payload: Json
    checkpoint: Json
    run_number: int
    attempt: int
    max_attempts: int
    priority: int
    timeout_seconds: int
    lease_expires_at: datetime
    workflow_run_id: UUID | None
    step_key: str | None
    inputs: Json
    inputs_omitted: bool
    created_at: datetime

    @property
    def undecodable(self) -> tuple[str, ...]:
        """Names of the columns that Python could not parse; such a job can only be failed."""
        return tuple(f.name for f in fields(self) if isinstance(getattr(self, f.name), Undecodable))


@dataclass(frozen=True, slots=True)
class StartedJob:
    job_id: UUID
    disposition: Literal["STARTED", "LOST"]


@dataclass(frozen=True, slots=True)
class ExtendedLease:
    job_id: UUID
    disposition: Literal["EXTENDED", "CANCELED", "LOST"]
    lease_expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """`progress_done`, `progress_total`: of a SUCCEEDED or CONTINUED one, what is stored now; None for the others."""

    ordinal: int
    job_id: UUID | None
    disposition: Literal[
        "SUCCEEDED", "RETRY_SCHEDULED", "DEAD_LETTERED", "CONTINUED", "RELEASED", "LEASE_LOST", "INVALID"
    ]
    replayed: bool
    status: JobStatus | None
    next_run_at: datetime | None
    code: str | None
    progress_done: int | None
    progress_total: int | None


@dataclass(frozen=True, slots=True)
class CanceledJob:
    job_id: UUID
    disposition: Literal["CANCELED", "UNCHANGED"]
    status: JobStatus
    lease_quiesces_at: datetime | None


@dataclass(frozen=True, slots=True)
class RequeuedJob:
    job_id: UUID
    disposition: Literal["REQUEUED"]
    status: JobStatus
    run_number: int


@dataclass(frozen=True, slots=True)
class ReplayedJob:
    job_id: UUID
    disposition: Literal["INSERTED", "EXISTING"]


@dataclass(frozen=True, slots=True)
class ChangedJob:
    job_id: UUID
    disposition: Literal["CORRECTED", "REDACTED", "UNCHANGED"]
    status: JobStatus


@dataclass(frozen=True, slots=True)
class ReapedLease:
    job_id: UUID
    job_type: str
    run_number: int
    attempt: int
    worker_id: str
    disposition: Literal["RETRY_SCHEDULED", "DEAD_LETTERED", "RELEASED", "DEFERRED"]
    next_run_at: datetime | None
    code: str | None


@dataclass(frozen=True, slots=True)
class ProgressReport:
    job_id: UUID
    stage: str
    progress_done: int | None
    progress_total: int | None
    progress_pct: Decimal | None


@dataclass(frozen=True, slots=True)
class JobDefinition:
    job_type: str
    version: int
    max_attempts: int
    timeout_seconds: int
    priority: int
    is_enabled: bool
    disabled_reason: str | None
    is_paused: bool
    paused_reason: str | None
    max_concurrency: int | None
    retry_base_ms: int
    retry_max_ms: int
    retry_delays_ms: Json
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class JobRecord:
    job_id: UUID
    job_type: str
    organization_id: UUID | None
    status: JobStatus
    state: str
    priority: int
    run_number: int
    attempt: int
    max_attempts: int
    timeout_seconds: int
    next_run_at: datetime
    worker_id: str | None
    lease_expires_at: datetime | None
    last_heartbeat_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    stage: str
    progress_done: int | None
    progress_total: int | None
    progress_pct: Decimal | None
    idempotency_key: str | None
    status_reason: str | None
    last_error_code: str | None
    last_error_message: str | None
    workflow_run_id: UUID | None
    schedule_id: UUID | None
    scheduled_for: datetime | None
    payload: Json
    checkpoint: Json
    output: Json
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class JobSummary:
    job_id: UUID
    job_type: str
    organization_id: UUID | None
    status: JobStatus
    state: str
    priority: int
    run_number: int
    attempt: int
    max_attempts: int
    next_run_at: datetime
    worker_id: str | None
    lease_expires_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    stage: str
    progress_done: int | None
    progress_total: int | None
    progress_pct: Decimal | None
    status_reason: str | None
    last_error_code: str | None
    workflow_run_id: UUID | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class QueueSummary:
    """`ready + delayed == counted_to`: there may be more. `finished`, `failed`: None while upkeep lags."""

    job_type: str
    is_enabled: bool
    disabled_reason: str | None
    is_paused: bool
    paused_reason: str | None
    max_concurrency: int | None
    workers: int
    ready: int
    delayed: int
    counted_to: int
    oldest_ready_at: datetime | None
    running: int
    lost: int
    dead: int
    finished: int | None
    failed: int | None


@dataclass(frozen=True, slots=True)
class RunningJob:
    """`state`: as in the view `jobs`, and `claimed` (not started yet) or `over time`."""

    job_id: UUID
    job_type: str
    organization_id: UUID | None
    status: JobStatus
    state: str
    worker_id: str
    claimed_at: datetime
    started_at: datetime | None
    last_heartbeat_at: datetime | None
    lease_expires_at: datetime
    run_number: int
    attempt: int
    max_attempts: int
    timeout_seconds: int
    stage: str
    progress_done: int | None
    progress_total: int | None
    progress_pct: Decimal | None
    workflow_run_id: UUID | None


@dataclass(frozen=True, slots=True)
class JobState:
    job_id: UUID
    job_type: str
    status: JobStatus
    run_number: int
    attempt: int
    stage: str
    next_run_at: datetime
    finished_at: datetime | None
    last_error_code: str | None


@dataclass(frozen=True, slots=True)
class JobEventRecord:
    """`detail`: what Runledger wrote of the event; no payload of the job."""

    event_id: int
    job_id: UUID
    run_number: int
    attempt: int | None
    event_type: str
    stage: str | None
    progress_done: int | None
    progress_total: int | None
    detail: Json
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class JobAttemptRecord:
    job_id: UUID
    run_number: int
    attempt: int
    worker_id: str
    claim_origin: Literal["DIRECT", "WORKER_PRESTART"]
    leased_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    disposition: Literal["SUCCEEDED", "RETRY_SCHEDULED", "DEAD_LETTERED", "CONTINUED", "RELEASED", "CANCELED"] | None
    outcome: FailureKind | None
    error_code: str | None
    error_message: str | None
    retry_delay_ms: int | None
    requested_retry_not_before: datetime | None
    effective_next_run_at: datetime | None
    retry_timing_source: Literal["POLICY", "ERROR_CODE", "HANDLER_NOT_BEFORE", "REAPER"] | None
    role_name: str | None


@dataclass(frozen=True, slots=True)
class JobLogRecord:
    log_id: int
    job_id: UUID
    run_number: int
    attempt: int | None
    level: str
    message: str
    has_payload: bool
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class JobLogBody:
    log_id: int
    payload: Json


@dataclass(frozen=True, slots=True)
class LoggedLine:
    ordinal: int
    job_id: UUID | None
    log_id: int | None
    disposition: Literal["STORED", "LOST", "INVALID"]
    code: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`status`: of the job now; `is_dead`: it was not requeued since."""

    job_id: UUID
    job_type: str
    organization_id: UUID | None
    run_number: int
    attempt: int
    error_code: str | None
    error_message: str | None
    failed_at: datetime
    status: JobStatus | None
    is_dead: bool


@dataclass(frozen=True, slots=True)
class JobBody:
    job_id: UUID
    payload: Json
    checkpoint: Json
    output: Json


@dataclass(frozen=True, slots=True)
class EnqueuedWorkflow:
    """EXISTING_ACTIVE: a live run holds the active key, and this is that run."""

    workflow_run_id: UUID
    disposition: Literal["INSERTED", "EXISTING", "EXISTING_ACTIVE"]
    status: WorkflowStatus


@dataclass(frozen=True, slots=True)
class WorkflowProblem:
    """`ordinal`: place of the step in the list, from 1."""

    ordinal: int
    step_key: str | None
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkflowPlanStep:
    level: int
    step_key: str
    job_type: str | None
    waits_for: list[str]
    handler: Literal["DEFINED", "DISABLED", "PAUSED", "UNKNOWN", "EXTERNAL"]
    workers: int


@dataclass(frozen=True, slots=True)
class CompletedStep:
    workflow_run_id: UUID
    step_key: str
    status: StepOutcome
    replayed: bool
    run_status: WorkflowStatus


@dataclass(frozen=True, slots=True)
class AppendedStep:
    workflow_run_id: UUID
    step_key: str
    status: StepStatus
    disposition: Literal["APPENDED", "ALREADY_APPLIED"]


@dataclass(frozen=True, slots=True)
class CanceledWorkflow:
    workflow_run_id: UUID
    disposition: Literal["CANCELED", "UNCHANGED"]
    status: WorkflowStatus


@dataclass(frozen=True, slots=True)
class WorkflowOutcome:
    """`result`: the output of the result step; None unless the run has succeeded."""

    workflow_run_id: UUID
    status: WorkflowStatus
    is_finished: bool
    result_step_key: str | None
    result: Json
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class WorkflowRecord:
    workflow_run_id: UUID
    workflow_type: str
    organization_id: UUID | None
    status: WorkflowStatus
    idempotency_key: str | None
    active_key: str | None
    metadata: Json
    steps_total: int
    steps_active: int
    steps_waiting: int
    steps_failed: int
    steps_succeeded: int
    result_step_key: str | None
    result: Json
    status_reason: str | None
    started_at: datetime
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowSummary:
    workflow_run_id: UUID
    workflow_type: str
    organization_id: UUID | None
    status: WorkflowStatus
    steps_total: int
    steps_active: int
    steps_waiting: int
    steps_failed: int
    steps_succeeded: int
    status_reason: str | None
    started_at: datetime
    finished_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowStepSummary:
    workflow_run_id: UUID
    ordinal: int
    step_key: str
    execution_kind: Literal["JOB", "EXTERNAL"]
    status: StepStatus
    job_id: UUID | None
    job_type: str | None
    organization_id: UUID | None
    priority: int | None
    max_attempts: int | None
    timeout_seconds: int | None
    stage: str | None
    allow_continuation: bool
    gate_timeout_seconds: int | None
    on_timeout: StepOutcome | None
    gate_expires_at: datetime | None
    dependency_count_total: int
    dependency_count_pending: int
    dependency_count_unsatisfied: int
    status_reason: str | None
    last_error_code: str | None
    last_error_message: str | None
    released_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowStepRecord:
    workflow_run_id: UUID
    ordinal: int
    step_key: str
    execution_kind: Literal["JOB", "EXTERNAL"]
    status: StepStatus
    job_id: UUID | None
    job_type: str | None
    organization_id: UUID | None
    priority: int | None
    max_attempts: int | None
    timeout_seconds: int | None
    stage: str | None
    allow_continuation: bool
    gate_timeout_seconds: int | None
    on_timeout: StepOutcome | None
    gate_expires_at: datetime | None
    dependency_count_total: int
    dependency_count_pending: int
    dependency_count_unsatisfied: int
    status_reason: str | None
    last_error_code: str | None
    last_error_message: str | None
    payload: Json
    output: Json
    released_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WorkflowEdge:
    """A hidden prerequisite belongs to another tenant and has neither key nor status."""

    workflow_run_id: UUID
    dependent_ordinal: int
    dependent_key: str
    prerequisite_ordinal: int
    prerequisite_key: str | None
    release_mode: Literal["ON_SUCCESS", "ON_TERMINAL"]
    prerequisite_status: StepStatus | None
    prerequisite_is_hidden: bool


@dataclass(frozen=True, slots=True)
class WorkflowMutation:
    """`step_keys`: of the first thousand of its `steps`."""

    workflow_run_id: UUID
    mutation_key: str
    append_window: str
    steps: int
    step_keys: list[str]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class StepInput:
    step_key: str
    status: StepStatus
    output: Json


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    name: str
    disposition: Literal["INSERTED", "UPDATED", "UNCHANGED", "PAUSED", "RESUMED", "DELETED"]
    next_fire_at: datetime
    is_active: bool


@dataclass(frozen=True, slots=True)
class ScheduleSummary:
    schedule_id: UUID
    name: str
    job_type: str | None
    workflow_type: str | None
    organization_id: UUID | None
    cron_expr: str
    timezone: str
    missed: Missed
    max_jitter_seconds: int
    is_active: bool
    state: str
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    next_fire_at: datetime
    due_at: datetime
    last_fired_at: datetime | None
    deferred_at: datetime | None
    deferred_until: datetime | None
    deferred_code: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ScheduleRecord:
    schedule_id: UUID
    name: str
    job_type: str | None
    workflow_type: str | None
    organization_id: UUID | None
    cron_expr: str
    timezone: str
    missed: Missed
    max_jitter_seconds: int
    is_active: bool
    state: str
    paused_at: datetime | None
    paused_by: str | None
    paused_reason: str | None
    next_fire_at: datetime
    due_at: datetime
    last_fired_at: datetime | None
    deferred_at: datetime | None
    deferred_until: datetime | None
    deferred_code: str | None
    payload: Json
    steps: Json
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class SchedulePreview:
    fires_at: datetime
    local_time: str
    utc_offset: str
    note: str | None


@dataclass(frozen=True, slots=True)
class CatalogChange:
    """`changes`: the settings that differ, with `old` and `new`; of payload and steps the name alone."""

    kind: Literal["JOB_TYPE", "SCHEDULE"]
    name: str
    action: Literal["INSERTED", "UPDATED", "UNCHANGED", "RESTORED", "DISABLED", "PAUSED", "REFUSED"]
    changes: Json
    code: str | None


@dataclass(frozen=True, slots=True)
class FiredSchedule:
    """`code`: why it was SKIPPED (MISSED, ALREADY_FIRED) or DEFERRED until `next_fire_at`."""

    name: str
    job_id: UUID | None
    workflow_run_id: UUID | None
    scheduled_for: datetime
    next_fire_at: datetime
    disposition: Literal["FIRED", "SKIPPED", "DEFERRED"]
    code: str | None


@dataclass(frozen=True, slots=True)
class RuntimeConfigRecord:
    job_type: str
    schema_version: int
    config: Json
    updated_by: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RuntimeConfigSummary:
    job_type: str
    schema_version: int
    config_bytes: int
    updated_by: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """An `unknown` worker never registered and holds leases; nothing else is known of it."""

    worker_id: str
    state: Literal["idle", "busy", "silent", "unknown"]
    job_types: list[str] | None
    max_jobs: int | None
    leases: int
    role_name: str | None
    registered_at: datetime | None
    last_seen_at: datetime
    idle_until: datetime | None


@dataclass(frozen=True, slots=True)
class IdleReport:
    """`next_due_at`: when the next job of the worker's types becomes due; None if none waits."""

    worker_id: str
    next_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class UpkeepReport:
    """`more`: call it again at once."""

    task: str
    affected: int
    more: bool


@dataclass(frozen=True, slots=True)
class RetentionRecord:
    """A length of zero means for ever. `history_begins_at`: events before it may be gone; None: none are."""

    finished: timedelta
    dead_letters: timedelta
    history: timedelta
    updated_by: str | None
    updated_at: datetime | None
    history_begins_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobMetricsRow:
    """Counts of the last 24 hours and of now; percentiles in milliseconds, within 5 %, None without data."""

    job_type: str
    pending_count: int
    leased_count: int
    stale_leases: int
    succeeded_24h: int
    retryable_24h: int
    terminal_24h: int
    panicked_24h: int
    timeout_24h: int
    dead_lettered_24h: int
    p50_duration_ms_24h: Decimal | None
    p95_duration_ms_24h: Decimal | None


@dataclass(frozen=True, slots=True)
class FsckFinding:
    invariant: str
    severity: Literal["ERROR", "WARN"]
    object: str
    detail: Json
    repair: str | None


@dataclass(frozen=True, slots=True)
class AccessGrant:
    role_name: str
    kind: Literal["producer", "worker", "operator", "observer"]
    job_types: list[str] | None
    disposition: Literal["GRANTED", "CHANGED", "UNCHANGED", "REVOKED"]


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """`action` is the function that was called, `object` what it was done to; None: many."""

    id: int
    role_name: str
    action: str
    object: str | None
    reason: str | None
    detail: Json
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Reason:
    """`fix`: the statement that helps; None if waiting is right, or nothing is left to do."""

    rank: int
    code: str
    explanation: str
    fix: str | None


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """`fix` is a SQL statement, or a command if it begins with `runledger`; None if all is well."""

    code: str
    level: Literal["OK", "WARN", "CRIT"]
    value: Decimal | None
    unit: str
    explanation: str
    fix: str | None
    detail: Json


@dataclass(frozen=True, slots=True)
class StepReason:
    """As `Reason`, of a step; of the run itself if `step_key` is None."""

    rank: int
    step_key: str | None
    code: str
    explanation: str
    fix: str | None


@dataclass(frozen=True, slots=True)
class ErrorCode:
    code: str
    sqlstate: str
    message: str
    hint: str


@dataclass(frozen=True, slots=True)
class SchemaState:
    migration_head: int
    contract: int
    package_version: str
    functions_sha256: str
    server_version: str
