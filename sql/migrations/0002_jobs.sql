-- 0002: job types, jobs, and what is written about them.
-- Lock: none to speak of, everything is new.

create type runledger.job_status as enum
  ('PENDING', 'LEASED', 'SUCCEEDED', 'DEAD_LETTERED', 'CANCELED');
comment on type runledger.job_status is
  'PENDING: waits to be claimed. LEASED: a worker holds it. SUCCEEDED, DEAD_LETTERED, CANCELED: '
  'finished.';

create type runledger.job_event_type as enum
  ('ENQUEUED', 'LEASED', 'HEARTBEAT', 'STAGE_CHANGED', 'PROGRESS', 'RETRY_SCHEDULED', 'SUCCEEDED',
   'FAILED', 'DEAD_LETTERED', 'CANCELED', 'REQUEUED', 'PAYLOAD_CORRECTED', 'REDACTED');
comment on type runledger.job_event_type is
  'What happened to a job. HEARTBEAT, STAGE_CHANGED, PROGRESS, PAYLOAD_CORRECTED and REDACTED '
  'change no status.';

create type runledger.job_failure_kind as enum
  ('RETRYABLE', 'TERMINAL', 'PANICKED', 'TIMEOUT', 'LEASE_EXPIRED');
comment on type runledger.job_failure_kind is
  'Why an attempt failed. RETRYABLE, TIMEOUT and LEASE_EXPIRED are tried again while attempts are '
  'left; TERMINAL and PANICKED dead-letter at once.';

-- Lease tokens rise for ever, so that a handler may give its token to another system as a fencing
-- token.
create sequence runledger.lease_token_seq as bigint;
comment on sequence runledger.lease_token_seq is
  'Source of lease tokens. Lifted past everything ever issued when a fail-over moves the '
  'timeline.';

create table runledger.job_definitions (
  job_type                text        primary key,
  version                 integer     not null default 1,
  max_attempts            integer     not null default 8,
  default_timeout_seconds integer     not null default 900,
  default_priority        integer     not null default 100,
  is_enabled              boolean     not null default true,
  disabled_at             timestamptz,
  disabled_by             text,
  disabled_reason         text,
  is_paused               boolean     not null default false,
  paused_at               timestamptz,
  paused_by               text,
  paused_reason           text,
  max_concurrency         integer,
  retry_base_ms           integer     not null default 5000,
  retry_max_ms            integer     not null default 300000,
  retry_delays_ms         jsonb       not null default '{}',
  catalog                 text,
  absent_at               timestamptz,
  created_at              timestamptz not null default clock_timestamp(),
  updated_at              timestamptz not null default clock_timestamp(),
  constraint a_job_type_is_not_blank check (btrim(job_type, E' \t\n\r\f\x0b') <> ''),
  constraint a_job_type_has_at_most_200_bytes check (octet_length(job_type) <= 200),
  constraint a_version_is_positive check (version > 0),
  constraint max_attempts_is_positive check (max_attempts > 0),
  constraint a_timeout_is_positive check (default_timeout_seconds > 0),
  constraint only_a_disabled_type_says_since_when check (is_enabled = (disabled_at is null)),
  constraint only_a_paused_type_says_since_when check (is_paused = (paused_at is not null)),
  constraint max_concurrency_is_positive check (max_concurrency > 0),
  constraint retry_delays_rise_from_base_to_max check (
    retry_base_ms > 0 and retry_max_ms >= retry_base_ms),
  constraint retry_delays_are_an_object check (jsonb_typeof(retry_delays_ms) = 'object'),
  constraint only_a_type_of_a_catalog_is_absent_from_it check (
    absent_at is null or catalog is not null)
);
comment on table runledger.job_definitions is
  'The job types: defaults for new jobs, retry policy, and the two switches. Written by '
  'define_job and its siblings.';
comment on column runledger.job_definitions.job_type is 'Name of the type, for example email.send.';
comment on column runledger.job_definitions.version is
  'Version of the payload contract; for people, nothing acts on it.';
comment on column runledger.job_definitions.max_attempts is
  'Attempts a run of a new job may spend before it is dead-lettered.';
comment on column runledger.job_definitions.default_timeout_seconds is
  'Time a handler may take, in seconds, for new jobs.';
comment on column runledger.job_definitions.default_priority is
  'Priority of new jobs; larger is claimed first.';
comment on column runledger.job_definitions.is_enabled is
  'false refuses new jobs; queued ones still run.';
comment on column runledger.job_definitions.disabled_at is 'Since when the type is disabled.';
comment on column runledger.job_definitions.disabled_by is 'The role that disabled it.';
comment on column runledger.job_definitions.disabled_reason is 'Why, in the words of that role.';
comment on column runledger.job_definitions.is_paused is
  'true stops claiming; new jobs are still accepted and wait.';
comment on column runledger.job_definitions.paused_at is 'Since when the type is paused.';
comment on column runledger.job_definitions.paused_by is 'The role that paused it.';
comment on column runledger.job_definitions.paused_reason is 'Why, in the words of that role.';
comment on column runledger.job_definitions.max_concurrency is
  'Most live leases of this type over the whole fleet; NULL: no limit.';
comment on column runledger.job_definitions.retry_base_ms is
  'Base of the exponential retry delay, in milliseconds.';
comment on column runledger.job_definitions.retry_max_ms is 'Longest retry delay, in milliseconds.';
comment on column runledger.job_definitions.retry_delays_ms is
  'Fixed retry delays in milliseconds by error code, before the formula.';
comment on column runledger.job_definitions.catalog is
  'The code-owned set that it belongs to, see sync_catalog; NULL: none.';
comment on column runledger.job_definitions.absent_at is
  'Since when that catalog lists it no more; equal to disabled_at if that is why it is disabled.';
comment on column runledger.job_definitions.created_at is 'When the type was first defined.';
comment on column runledger.job_definitions.updated_at is
  'When the row last changed; an equal define_job does not touch it.';

-- What every row has and never changes its width comes first, then what the indexes ask for: a
-- column behind one that may be NULL or is of any width is found only by walking over the row.
create table runledger.job_queue (
  id                 uuid        primary key,
  status             runledger.job_status not null default 'PENDING',
  priority           integer     not null,
  run_number         integer     not null default 1,
  attempt            integer     not null default 0,
  max_attempts       integer     not null,
  timeout_seconds    integer     not null,
  release_count      integer     not null default 0,
  next_run_at        timestamptz not null,
  created_at         timestamptz not null,
  updated_at         timestamptz not null,
  job_type           text        not null,
  lease_token        bigint,
  lease_expires_at   timestamptz,
  last_heartbeat_at  timestamptz,
  started_at         timestamptz,
  finished_at        timestamptz,
  worker_id          text,
  lease_role         text,
  stage              text        not null default 'queued',
  payload            jsonb       not null default '{}',
  organization_id    uuid,
  workflow_run_id    uuid,
  idempotency_key    text,
  enqueue_request    jsonb,
  schedule_id        uuid,
  scheduled_for      timestamptz,
  last_lease_token   bigint,
  last_disposition   text,
  progress_done      bigint,
  progress_total     bigint,
  progress_pct       numeric,
  checkpoint         jsonb,
  output             jsonb,
  status_reason      text,
  last_error_code    text,
  last_error_message text,
  constraint a_pending_job_has_an_attempt_left check (
    attempt + (status = 'PENDING')::integer <= max_attempts),
  constraint a_lease_has_worker_token_and_expiry check (
    (status = 'LEASED') = (worker_id is not null)
    and (lease_token is null) = (lease_expires_at is null)
    and (worker_id is null or lease_token is not null)),
  constraint exactly_the_finished_jobs_have_finished_at check (
    (status in ('PENDING', 'LEASED')) = (finished_at is null))
) with (
  -- Room for the next version of a row on its own page: heartbeats and progress stay HOT, and the
  -- two
  -- status changes of a job do not scatter it over the table.
  fillfactor = 75,
  -- Every job leaves two dead versions behind and the claim indexes see each of them: vacuum by a
  -- fixed
  -- number of rows, not by a share of a table that may hold a month of history, and without pauses.
  autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.02,
  autovacuum_vacuum_cost_delay = 0
);
comment on table runledger.job_queue is
  'The jobs, one row each for life: identity, state, lease, progress and result. Written by '
  'functions alone.';
comment on column runledger.job_queue.id is
  'Identity of the job (uuid v7); stays over retries and requeues.';
comment on column runledger.job_queue.job_type is 'Its type; see job_definitions.';
comment on column runledger.job_queue.organization_id is 'Tenant, opaque to us; NULL: global.';
comment on column runledger.job_queue.payload is 'What the handler gets.';
comment on column runledger.job_queue.status is
  'Where the job is in its life; see the type job_status.';
comment on column runledger.job_queue.priority is 'Larger is claimed first.';
comment on column runledger.job_queue.run_number is
  'Logical executions, from 1; requeue and continuation add one.';
comment on column runledger.job_queue.attempt is
  'Claims charged in this run; 0 while it was never claimed.';
comment on column runledger.job_queue.max_attempts is
  'Budget of attempts for one run, fixed at enqueue.';
comment on column runledger.job_queue.timeout_seconds is 'Time a handler may take, in seconds.';
comment on column runledger.job_queue.next_run_at is
  'A PENDING job may be claimed from this instant on.';
comment on column runledger.job_queue.worker_id is 'Who holds the lease; set exactly while LEASED.';
comment on column runledger.job_queue.lease_token is
  'Proof of the present claim. A canceled job keeps it until its handler is known to be quiet.';
comment on column runledger.job_queue.lease_role is
  'The role that claimed: tokens are numbers one after the other and can be guessed, so only that '
  'role and its members may use one. Stays with last_lease_token.';
comment on column runledger.job_queue.lease_expires_at is
  'When the lease ends unless a heartbeat moves it. Not indexed: heartbeats stay HOT.';
comment on column runledger.job_queue.last_heartbeat_at is
  'Last claim or heartbeat; lease_expires_at minus this is the length granted.';
comment on column runledger.job_queue.last_lease_token is
  'Token of the last lease that was released or canceled: its attempt row may be gone.';
comment on column runledger.job_queue.last_disposition is
  'What became of that lease: RELEASED or CANCELED.';
comment on column runledger.job_queue.release_count is
  'Releases in this run; after 100 of them a release no longer refunds the attempt.';
comment on column runledger.job_queue.started_at is 'First claim of this run that counted.';
comment on column runledger.job_queue.finished_at is 'When the job reached a finished status.';
comment on column runledger.job_queue.stage is
  'queued, scheduled, running, completed, or a word of the handler.';
comment on column runledger.job_queue.progress_done is 'Units done, as reported.';
comment on column runledger.job_queue.progress_total is 'Units in all, as reported.';
comment on column runledger.job_queue.progress_pct is
  'done of total in percent; NULL while either is unknown.';
comment on column runledger.job_queue.checkpoint is 'State from which the next attempt goes on.';
comment on column runledger.job_queue.output is 'Result of a succeeded job.';
comment on column runledger.job_queue.idempotency_key is 'Unique per job_type and tenant.';
comment on column runledger.job_queue.enqueue_request is
  'The request as first made, to tell a retry from a conflict.';
comment on column runledger.job_queue.status_reason is
  'Failure kind, cancel reason or requeue reason of the last change.';
comment on column runledger.job_queue.last_error_code is 'Code of the last failure of this run.';
comment on column runledger.job_queue.last_error_message is
  'Message of the last failure of this run.';
comment on column runledger.job_queue.workflow_run_id is
  'The workflow run this job is a step of; never changes.';
comment on column runledger.job_queue.schedule_id is 'The schedule that enqueued it.';
comment on column runledger.job_queue.scheduled_for is
  'The instant of that schedule it stands for.';
comment on column runledger.job_queue.created_at is 'When it was enqueued.';
comment on column runledger.job_queue.updated_at is 'When the row last changed.';

-- No attempt is below 0. A query of one type does not say so and cannot use this index: of two that
-- look as dear while the table is small, it would take this one and read all types for its own.
create index job_queue_claim_idx on runledger.job_queue (priority desc, next_run_at, id)
  where status = 'PENDING' and attempt >= 0;
comment on index runledger.job_queue_claim_idx is 'The order of claiming over all types.';
create index job_queue_lane_idx on runledger.job_queue (job_type, priority desc, next_run_at, id)
  where status = 'PENDING';
comment on index runledger.job_queue_lane_idx is
  'The order of claiming within a type: used when the head of the queue belongs to types a worker '
  'does not handle.';
-- lease_expires_at must stand in no index and no predicate, or heartbeats are no longer HOT.
create index job_queue_held_idx on runledger.job_queue (job_type, id)
  where lease_token is not null;
comment on index runledger.job_queue_held_idx is
  'Leased and not yet quiescent jobs: read by the reaper, by concurrency limits and by '
  'leased_jobs.';
create unique index job_queue_one_job_per_tenant_key on runledger.job_queue (job_type,
  organization_id, idempotency_key)
  where idempotency_key is not null and organization_id is not null;
comment on index runledger.job_queue_one_job_per_tenant_key is
  'One job per type, tenant and idempotency key.';
create unique index job_queue_one_job_per_global_key on runledger.job_queue (job_type,
  idempotency_key)
  where idempotency_key is not null and organization_id is null;
comment on index runledger.job_queue_one_job_per_global_key is
  'One job per type and idempotency key without a tenant.';
create unique index job_queue_one_job_per_fire on runledger.job_queue (schedule_id, scheduled_for)
  where schedule_id is not null;
comment on index runledger.job_queue_one_job_per_fire is 'No instant of a schedule fires twice.';
create index job_queue_tenant_idx on runledger.job_queue (organization_id, id)
  where organization_id is not null;
comment on index runledger.job_queue_tenant_idx is 'Lists of one tenant, newest first.';

create table runledger.job_attempts (
  job_id                     uuid        not null,
  run_number                 integer     not null,
  attempt                    integer     not null,
  worker_id                  text        not null,
  lease_token                bigint      not null,
  role_name                  text,
  claim_origin               text        not null default 'DIRECT',
  leased_at                  timestamptz not null,
  started_at                 timestamptz,
  finished_at                timestamptz,
  disposition                text,
  outcome                    runledger.job_failure_kind,
  error_code                 text,
  error_message              text,
  retry_delay_ms             bigint,
  requested_retry_not_before timestamptz,
  effective_next_run_at      timestamptz,
  retry_timing_source        text,
  primary key (job_id, run_number, attempt)
) with (
  -- Each row is inserted by the claim and updated once by the finish, which makes it longer: room
  -- for that on the page.
  fillfactor = 45,
  autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0
);
comment on table runledger.job_attempts is
  'One row per claim that was charged. No foreign key to job_queue: the check would cost more '
  'than the row; fsck proves it.';
comment on column runledger.job_attempts.job_id is 'The job.';
comment on column runledger.job_attempts.run_number is 'Its run.';
comment on column runledger.job_attempts.attempt is
  'Number of the attempt in that run, from 1, without holes.';
comment on column runledger.job_attempts.worker_id is 'Who claimed.';
comment on column runledger.job_attempts.lease_token is 'Token of that claim.';
comment on column runledger.job_attempts.role_name is
  'The role that claimed; a repeated completion is told to it and its members alone.';
comment on column runledger.job_attempts.claim_origin is
  'DIRECT: the claim was the start. WORKER_PRESTART: start_jobs follows.';
comment on column runledger.job_attempts.leased_at is 'When it was claimed.';
comment on column runledger.job_attempts.started_at is
  'When the handler started; NULL while only claimed.';
comment on column runledger.job_attempts.finished_at is 'When the attempt ended.';
comment on column runledger.job_attempts.disposition is
  'What became of the attempt; a repeated completion is known by it and by outcome.';
comment on column runledger.job_attempts.outcome is
  'Failure kind; NULL for success, cancel, continuation and release.';
comment on column runledger.job_attempts.error_code is 'Code of the failure.';
comment on column runledger.job_attempts.error_message is 'Message of the failure.';
comment on column runledger.job_attempts.retry_delay_ms is
  'Delay until the retry, in milliseconds.';
comment on column runledger.job_attempts.requested_retry_not_before is
  'Earliest retry the handler asked for.';
comment on column runledger.job_attempts.effective_next_run_at is 'When the retry became due.';
comment on column runledger.job_attempts.retry_timing_source is
  'What decided the delay: POLICY, ERROR_CODE, HANDLER_NOT_BEFORE or REAPER.';

create table runledger.job_events (
  id             bigint      generated always as identity,
  job_id         uuid        not null,
  run_number     integer     not null,
  attempt        integer,
  event_type     runledger.job_event_type not null,
  stage          text,
  progress_done  bigint,
  progress_total bigint,
  payload        jsonb       not null default '{}',
  occurred_at    timestamptz not null,
  transaction_id xid8        not null default pg_current_xact_id(),
  primary key (job_id, id, occurred_at)
) partition by range (occurred_at);
create table runledger.job_events_default partition of runledger.job_events default
  with (autovacuum_vacuum_insert_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
comment on table runledger.job_events is
  'What happened to each job, append-only, in the same transaction as the change. Partitioned by '
  'time, dropped by prune.';
comment on table runledger.job_events_default is
  'Events of times that have no partition of their own, so that a missed maintenance never blocks '
  'a write.';
comment on column runledger.job_events.id is
  'Order within a job. Allocation order, not commit order: tail with transaction_id.';
comment on column runledger.job_events.job_id is 'The job.';
comment on column runledger.job_events.run_number is
  'Its run; a requeue is written with the run it ends.';
comment on column runledger.job_events.attempt is
  'The attempt; NULL for events of a job that was not claimed.';
comment on column runledger.job_events.event_type is 'What happened.';
comment on column runledger.job_events.stage is 'Stage after the event, where it says one.';
comment on column runledger.job_events.progress_done is 'Units done, as reported.';
comment on column runledger.job_events.progress_total is 'Units in all, as reported.';
comment on column runledger.job_events.payload is
  'Details: reasons, codes, delays. Never the payload of the job.';
comment on column runledger.job_events.occurred_at is 'When, by the clock of the database.';
comment on column runledger.job_events.transaction_id is
  'Writer. A reader that follows the log reads only below '
  'pg_snapshot_xmin(pg_current_snapshot()).';

-- What follows the log reads its end. A B-tree would cost each event; this costs next to nothing,
-- as long as ranges are summarised only once they are full (_summarize_events).
create index job_events_id_idx on runledger.job_events using brin (id) with (pages_per_range = 16);
comment on index runledger.job_events_id_idx is
  'The end of the log, for those who follow it: events above an id, without reading the rest.';

create table runledger.job_dead_letters (
  job_id              uuid        primary key,
  job_type            text        not null,
  organization_id     uuid,
  run_number          integer     not null,
  attempt             integer     not null,
  error_code          text,
  error_message       text,
  payload_snapshot    jsonb       not null,
  checkpoint_snapshot jsonb,
  failed_at           timestamptz not null,
  constraint run_number_starts_at_one check (run_number >= 1),
  constraint attempt_starts_at_one check (attempt >= 1)
);
create index job_dead_letters_failed_at_idx on runledger.job_dead_letters (failed_at, job_id);
create index job_dead_letters_tenant_idx on runledger.job_dead_letters
  (organization_id, failed_at, job_id) where organization_id is not null;
comment on index runledger.job_dead_letters_tenant_idx is
  'Dead letters of one tenant, latest first.';
comment on index runledger.job_dead_letters_failed_at_idx is
  'Dead letters by age, for lists, redrive and metrics.';
comment on table runledger.job_dead_letters is
  'The latest dead letter of each job. Stays as history when the job is requeued; a later one '
  'replaces it.';
comment on column runledger.job_dead_letters.job_id is 'The job.';
comment on column runledger.job_dead_letters.job_type is 'Its type.';
comment on column runledger.job_dead_letters.organization_id is 'Its tenant.';
comment on column runledger.job_dead_letters.run_number is 'The run that failed.';
comment on column runledger.job_dead_letters.attempt is 'The attempt that failed last.';
comment on column runledger.job_dead_letters.error_code is 'Code of the failure.';
comment on column runledger.job_dead_letters.error_message is 'Message of the failure.';
comment on column runledger.job_dead_letters.payload_snapshot is 'The payload at that time.';
comment on column runledger.job_dead_letters.checkpoint_snapshot is 'The checkpoint at that time.';
comment on column runledger.job_dead_letters.failed_at is 'When it was dead-lettered.';

create table runledger.job_logs (
  id          bigint      generated always as identity,
  job_id      uuid        not null,
  run_number  integer     not null,
  attempt     integer,
  level       text        not null,
  message     text        not null,
  payload     jsonb       not null default '{}',
  occurred_at timestamptz not null,
  primary key (job_id, id, occurred_at),
  constraint run_number_starts_at_one check (run_number >= 1),
  constraint attempt_is_not_negative check (attempt >= 0),
  constraint a_level_is_not_blank check (btrim(level, E' \t\n\r\f\x0b') <> ''),
  constraint a_message_is_not_blank check (btrim(message, E' \t\n\r\f\x0b') <> '')
) partition by range (occurred_at);
create table runledger.job_logs_default partition of runledger.job_logs default
  with (autovacuum_vacuum_insert_scale_factor = 0.05);
comment on table runledger.job_logs is
  'Lines written by handlers and by the runner. Partitioned by time, dropped by prune.';
comment on table runledger.job_logs_default is
  'Lines of times that have no partition of their own.';
comment on column runledger.job_logs.id is 'Order of writing.';
comment on column runledger.job_logs.job_id is 'The job.';
comment on column runledger.job_logs.run_number is 'Its run.';
comment on column runledger.job_logs.attempt is 'Its attempt; 0 before the first.';
comment on column runledger.job_logs.level is 'Free word: debug, info, warning, error.';
comment on column runledger.job_logs.message is 'The line.';
comment on column runledger.job_logs.payload is 'Structured details.';
comment on column runledger.job_logs.occurred_at is 'When, by the clock of the database.';

create table runledger.job_runtime_configs (
  job_type       text        primary key references runledger.job_definitions on delete cascade,
  schema_version integer     not null,
  config         jsonb       not null,
  updated_by     text        not null,
  created_at     timestamptz not null,
  updated_at     timestamptz not null,
  constraint a_schema_version_is_positive check (schema_version > 0),
  constraint a_config_is_an_object check (jsonb_typeof(config) = 'object')
);
comment on table runledger.job_runtime_configs is
  'Settings a handler reads at run time, one JSON object per type.';
comment on column runledger.job_runtime_configs.job_type is 'The type.';
comment on column runledger.job_runtime_configs.schema_version is 'Version of the shape of config.';
comment on column runledger.job_runtime_configs.config is 'The settings.';
comment on column runledger.job_runtime_configs.updated_by is 'The role that wrote them last.';
comment on column runledger.job_runtime_configs.created_at is 'When they were first set.';
comment on column runledger.job_runtime_configs.updated_at is 'When they last changed.';

create table runledger.job_replays (
  replay_job_id     uuid        primary key,
  source_job_id     uuid        not null,
  source_run_number integer     not null,
  request_key       text        not null,
  reason            text        not null,
  created_at        timestamptz not null,
  constraint a_source_is_replayed_once_per_key unique (source_job_id, source_run_number,
    request_key),
  constraint a_job_is_no_replay_of_itself check (source_job_id <> replay_job_id),
  constraint a_request_key_is_not_blank check (
    btrim(request_key, E' \t\n\r\f\x0b') <> '' and octet_length(request_key) <= 512),
  constraint a_reason_is_not_blank check (btrim(reason, E' \t\n\r\f\x0b') <> '')
);
comment on table runledger.job_replays is 'Which job is a replay of which succeeded one, and why.';
comment on column runledger.job_replays.replay_job_id is 'The new job.';
comment on column runledger.job_replays.source_job_id is 'The succeeded job it repeats.';
comment on column runledger.job_replays.source_run_number is 'The run of it.';
comment on column runledger.job_replays.request_key is
  'Key of the request: the same key gives the same replay.';
comment on column runledger.job_replays.reason is 'Why it was replayed.';
comment on column runledger.job_replays.created_at is 'When.';
