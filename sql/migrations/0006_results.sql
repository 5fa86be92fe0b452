-- 0006: the shapes that functions return, as named types: a parameter and a column of `returns
-- table` could not share a name.
-- Lock: none, everything is new.

create type runledger.enqueued_job as (
  job_id uuid, disposition text, status text, run_number integer);
comment on type runledger.enqueued_job is
  'Result of enqueue_job: disposition INSERTED or EXISTING.';

create type runledger.enqueued_item as (
  ordinal integer, job_id uuid, disposition text, status text, run_number integer, code text);
comment on type runledger.enqueued_item is
  'One row per item of enqueue_jobs: disposition INSERTED, EXISTING, CONFLICT or INVALID, and why '
  'in code.';

create type runledger.claimed_job as (
  job_id uuid, lease_token bigint, job_type text, organization_id uuid, payload jsonb,
    checkpoint jsonb,
  run_number integer, attempt integer, max_attempts integer, priority integer,
    timeout_seconds integer,
  lease_expires_at timestamptz, workflow_run_id uuid, step_key text, inputs jsonb,
    inputs_omitted boolean,
  created_at timestamptz);
comment on type runledger.claimed_job is
  'A leased job as its worker sees it. lease_token is the proof every later call asks for; inputs '
  'is prerequisite step_key -> output.';

create type runledger.started_job as (job_id uuid, disposition text);
comment on type runledger.started_job is 'Result of start_jobs: disposition STARTED or LOST.';

create type runledger.extended_lease as (
  job_id uuid, disposition text, lease_expires_at timestamptz);
comment on type runledger.extended_lease is
  'Result of heartbeat_jobs: disposition EXTENDED, CANCELED or LOST.';

create type runledger.finished_job as (
  ordinal integer, job_id uuid, disposition text, replayed boolean, status text,
    next_run_at timestamptz, code text, progress_done bigint, progress_total bigint);
comment on type runledger.finished_job is
  'One row per outcome of finish_jobs: SUCCEEDED, RETRY_SCHEDULED, DEAD_LETTERED, CONTINUED, '
  'RELEASED, LEASE_LOST or INVALID. replayed: the same completion was recorded before. status: '
  'the status now. code: why, where there is a why. progress_done, progress_total: of a SUCCEEDED '
  'or CONTINUED one, what the job has stored now, earlier reports included; NULL for the others.';

create type runledger.canceled_job as (
  job_id uuid, disposition text, status text, lease_quiesces_at timestamptz);
comment on type runledger.canceled_job is
  'Result of cancel_job: disposition CANCELED or UNCHANGED; until lease_quiesces_at a handler may '
  'still be at work.';

create type runledger.requeued_job as (
  job_id uuid, disposition text, status text, run_number integer);
comment on type runledger.requeued_job is
  'Result of requeue_job and redrive_dead_letters: disposition REQUEUED.';

create type runledger.replayed_job as (job_id uuid, disposition text);
comment on type runledger.replayed_job is
  'Result of replay_job: the new job, disposition INSERTED or EXISTING.';

create type runledger.reaped_lease as (
  job_id uuid, job_type text, run_number integer, attempt integer, worker_id text, disposition text,
  next_run_at timestamptz, code text);
comment on type runledger.reaped_lease is
  'Result of reap_expired_leases: disposition RETRY_SCHEDULED, DEAD_LETTERED, RELEASED or '
  'DEFERRED.';

create type runledger.progress_report as (
  job_id uuid, stage text, progress_done bigint, progress_total bigint, progress_pct numeric);
comment on type runledger.progress_report is
  'Result of report_progress: the merged values now stored.';

create type runledger.job_definition as (
  job_type text, version integer, max_attempts integer, timeout_seconds integer, priority integer,
  is_enabled boolean, disabled_reason text, is_paused boolean, paused_reason text,
    max_concurrency integer,
  retry_base_ms integer, retry_max_ms integer, retry_delays_ms jsonb, created_at timestamptz,
    updated_at timestamptz);
comment on type runledger.job_definition is 'A job type as define_job takes it, with its switches.';

create type runledger.job_record as (
  job_id uuid, job_type text, organization_id uuid, status text, state text,
  priority integer, run_number integer,
  attempt integer, max_attempts integer, timeout_seconds integer, next_run_at timestamptz,
    worker_id text,
  lease_expires_at timestamptz, last_heartbeat_at timestamptz, started_at timestamptz,
    finished_at timestamptz,
  stage text, progress_done bigint, progress_total bigint, progress_pct numeric,
    idempotency_key text,
  status_reason text, last_error_code text, last_error_message text, workflow_run_id uuid,
    schedule_id uuid,
  scheduled_for timestamptz, payload jsonb, checkpoint jsonb, output jsonb, created_at timestamptz,
  updated_at timestamptz);
comment on type runledger.job_record is
  'Everything about a job; result of get_job. state: as in the view jobs.';

create type runledger.job_summary as (
  job_id uuid, job_type text, organization_id uuid, status text, state text,
  priority integer, run_number integer,
  attempt integer, max_attempts integer, next_run_at timestamptz, worker_id text,
    lease_expires_at timestamptz,
  started_at timestamptz, finished_at timestamptz, stage text, progress_done bigint,
    progress_total bigint,
  progress_pct numeric, status_reason text, last_error_code text, workflow_run_id uuid,
    created_at timestamptz,
  updated_at timestamptz);
comment on type runledger.job_summary is
  'A job without its JSON bodies; result of list_jobs. state: as in the view jobs.';

create type runledger.queue_summary as (
  job_type text, is_enabled boolean, disabled_reason text, is_paused boolean, paused_reason text,
  max_concurrency integer, workers integer, ready bigint, delayed bigint, counted_to integer,
  oldest_ready_at timestamptz, running bigint, lost bigint, dead bigint, finished bigint,
  failed bigint);
comment on type runledger.queue_summary is
  'How a job type stands; result of list_queues. lost: running ones whose lease ran out. workers: '
  'registered for it and heard of within three minutes. finished, failed: NULL while upkeep lags.';

create type runledger.running_job as (
  job_id uuid, job_type text, organization_id uuid, status text, state text, worker_id text,
  claimed_at timestamptz, started_at timestamptz, last_heartbeat_at timestamptz,
  lease_expires_at timestamptz, run_number integer, attempt integer, max_attempts integer,
  timeout_seconds integer, stage text, progress_done bigint, progress_total bigint,
  progress_pct numeric, workflow_run_id uuid);
comment on type runledger.running_job is
  'A job that a worker holds; result of list_running_jobs. claimed_at, started_at: of this '
  'attempt. state: as in the view jobs, and of the running ones claimed (the handler has not '
  'started) and over time (it runs for longer than its timeout).';

create type runledger.job_state as (
  job_id uuid, job_type text, status text, run_number integer, attempt integer, stage text,
  next_run_at timestamptz, finished_at timestamptz, last_error_code text);
comment on type runledger.job_state is 'Where a job stands; result of job_statuses.';

create type runledger.job_event_record as (
  event_id bigint, job_id uuid, run_number integer, attempt integer, event_type text, stage text,
  progress_done bigint, progress_total bigint, detail jsonb, occurred_at timestamptz);
comment on type runledger.job_event_record is
  'One event of a job; result of list_job_events. detail: what Runledger wrote of it, no payload.';

create type runledger.job_attempt_record as (
  job_id uuid, run_number integer, attempt integer, worker_id text, claim_origin text,
  leased_at timestamptz, started_at timestamptz, finished_at timestamptz, disposition text,
  outcome text, error_code text, error_message text, retry_delay_ms bigint,
  requested_retry_not_before timestamptz, effective_next_run_at timestamptz,
  retry_timing_source text, role_name text);
comment on type runledger.job_attempt_record is
  'One attempt of a job, without its lease token; result of list_job_attempts.';

create type runledger.job_log_record as (
  log_id bigint, job_id uuid, run_number integer, attempt integer, level text, message text,
  has_payload boolean, occurred_at timestamptz);
comment on type runledger.job_log_record is
  'One log line of a job without its JSON; result of list_job_logs.';

create type runledger.job_log_body as (log_id bigint, payload jsonb);
comment on type runledger.job_log_body is 'The JSON of a log line; result of job_log_payloads.';

create type runledger.logged_line as (
  ordinal integer, job_id uuid, log_id bigint, disposition text, code text);
comment on type runledger.logged_line is
  'One row per line of log_jobs: disposition STORED, LOST (no such job, or not its lease) or '
  'INVALID, and why in code.';

create type runledger.dead_letter as (
  job_id uuid, job_type text, organization_id uuid, run_number integer, attempt integer,
  error_code text, error_message text, failed_at timestamptz, status text, is_dead boolean);
comment on type runledger.dead_letter is
  'A dead letter without its bodies; result of list_dead_letters. status: of the job now. is_dead: '
  'it was not requeued since.';

create type runledger.job_body as (job_id uuid, payload jsonb, checkpoint jsonb, output jsonb);
comment on type runledger.job_body is 'The JSON bodies of a job; result of job_payload.';

create type runledger.runtime_config_record as (
  job_type text, schema_version integer, config jsonb, updated_by text, updated_at timestamptz);
comment on type runledger.runtime_config_record is
  'Result of runtime_config and set_runtime_config.';

create type runledger.runtime_config_summary as (
  job_type text, schema_version integer, config_bytes integer, updated_by text,
  created_at timestamptz, updated_at timestamptz);
comment on type runledger.runtime_config_summary is
  'A runtime config in a list: how large it is, not what it says.';

create type runledger.worker_record as (
  worker_id text, state text, job_types text[], max_jobs integer, leases bigint, role_name text,
  registered_at timestamptz, last_seen_at timestamptz, idle_until timestamptz);
comment on type runledger.worker_record is
  'A worker in a list: state idle, busy, silent or unknown (then it has leases and no more).';

create type runledger.idle_report as (worker_id text, next_due_at timestamptz);
comment on type runledger.idle_report is
  'Result of idle_worker: when the next job of its types becomes due, NULL if none waits.';

create type runledger.upkeep_report as (task text, affected bigint, more boolean);
comment on type runledger.upkeep_report is
  'One row per task of run_maintenance: how many rows it dealt with, and whether it should be '
  'called again at once.';

create type runledger.retention_record as (
  finished interval, dead_letters interval, history interval, updated_by text,
  updated_at timestamptz, history_begins_at timestamptz);
comment on type runledger.retention_record is
  'Result of retention and set_retention: how long what is kept (0: for ever), and since when the '
  'history is whole (NULL: nothing was dropped yet).';

create type runledger._erasure as (job_ids uuid[], affected bigint, is_cut boolean);
comment on type runledger._erasure is
  'Jobs that were deleted with all that belongs to them, how many rows that were, and whether '
  'others did not fit. Internal.';

create type runledger.job_metrics_row as (
  job_type text, pending_count bigint, leased_count bigint, stale_leases bigint,
  succeeded_24h bigint, retryable_24h bigint, terminal_24h bigint, panicked_24h bigint,
  timeout_24h bigint, dead_lettered_24h bigint, p50_duration_ms_24h numeric,
  p95_duration_ms_24h numeric);
comment on type runledger.job_metrics_row is
  'Result of job_metrics: what waits and runs of a type, and its last 24 hours.';

create type runledger._sample as (family text, nth bigint, suffix text, labels text, value text);
comment on type runledger._sample is 'One line of metrics_prometheus. Internal.';

create type runledger.fsck_finding as (
  invariant text, severity text, object text, detail jsonb, repair text);
comment on type runledger.fsck_finding is
  'A violated invariant: its id, ERROR or WARN, what it is about, safe values, and the statement '
  'that repairs it.';

create type runledger.reason as (rank integer, code text, explanation text, fix text);
comment on type runledger.reason is
  'One answer of why: code is stable (view why_codes), fix the statement that helps. Without a fix '
  'there is nothing to do but to wait, or nothing at all; the explanation says which.';

create type runledger.step_reason as (
  rank integer, step_key text, code text, explanation text, fix text);
comment on type runledger.step_reason is
  'One answer of why_workflow, about a step; about the run itself if step_key is NULL.';

create type runledger._job_case as (
  id uuid, job_type text, status runledger.job_status, priority integer, run_number integer,
  attempt integer, max_attempts integer, timeout_seconds integer, next_run_at timestamptz,
  worker_id text, lease_token bigint, lease_expires_at timestamptz, last_heartbeat_at timestamptz,
  last_disposition text, started_at timestamptz, finished_at timestamptz, stage text,
  progress_done bigint, progress_total bigint, status_reason text, last_error_code text,
  last_error_message text, workflow_run_id uuid, updated_at timestamptz, is_redacted boolean,
  locker xid, tenant uuid);
comment on type runledger._job_case is
  'What why looks at of a job; locker: who last locked the row, tenant: on whose behalf why was '
  'asked. Internal.';

create type runledger._step_case as (
  nth integer, step_key text, status runledger.step_status, job_id uuid, on_timeout text,
  gate_expires_at timestamptz, released_at timestamptz, created_at timestamptz,
  finished_at timestamptz, status_reason text, last_error_code text, last_error_message text,
  pending integer, because text, root_key text, root_status runledger.step_status,
  root_job_id uuid, root_expires_at timestamptz);
comment on type runledger._step_case is
  'What why_workflow looks at of a step: because names the prerequisites that hold it up, root the '
  'first step on that path that is not itself held up. Internal.';

create type runledger._handler as (
  worker_id text, is_registered boolean, job_types text[], max_jobs integer, busy integer,
  heard_at timestamptz, is_live boolean);
comment on type runledger._handler is
  'A worker that handles a job type: registered for it, or holding a job of it. Internal.';

create type runledger._lock_holder as (words text, fix text);
comment on type runledger._lock_holder is
  'An open transaction that keeps a lock, in words, and what ends it. Internal.';

create type runledger.health_check as (
  code text, level text, value numeric, unit text, explanation text, fix text, detail jsonb);
comment on type runledger.health_check is
  'One check of health(): its code, OK, WARN or CRIT, what was measured and in which unit, what '
  'that means, what to run about it (NULL if nothing), and the particulars with the two bounds.';

create type runledger.error_code as (code text, sqlstate text, message text, hint text);
comment on type runledger.error_code is 'One line of error_codes().';

create type runledger.schema_state as (
  migration_head integer, contract integer, package_version text, functions_sha256 text,
    server_version text);
comment on type runledger.schema_state is 'Result of schema_info().';

create type runledger.changed_job as (job_id uuid, disposition text, status text);
comment on type runledger.changed_job is
  'Result of correct_payload (CORRECTED or UNCHANGED) and redact_job (REDACTED or UNCHANGED).';

create type runledger._log_entry as (
  ordinal integer, job_id uuid, lease_token bigint, level text, message text, payload jsonb,
  code text);
comment on type runledger._log_entry is
  'One decoded item of log_jobs; code says why it is refused. Internal.';

create type runledger._settlement as (
  ordinal integer, job_id uuid, run_number integer, attempt integer, lease_token bigint,
    disposition text,
  kind runledger.job_failure_kind, code text, message text, reason text, refund boolean,
  delay_ms bigint, next_run_at timestamptz, timing_source text, not_before timestamptz,
  output jsonb, checkpoint jsonb, done bigint, total bigint, note jsonb, workflow_run_id uuid);
comment on type runledger._settlement is
  'How one lease ends, decided: what _settle writes. Internal.';

create type runledger._enqueue_item as (
  ordinal integer, id uuid, job_type text, organization_id uuid, payload jsonb, priority integer,
  max_attempts integer, timeout_seconds integer, run_at timestamptz, idempotency_key text,
    stage text,
  request jsonb, code text);
comment on type runledger._enqueue_item is
  'One decoded item of enqueue_jobs; code says why it is refused. Internal.';

create type runledger._pick as (
  priorities integer[], due_ats timestamptz[], ids uuid[], places tid[]);
comment on type runledger._pick is
  'Ready jobs, locked, in claim order, with the places of their rows. Internal.';

create type runledger._mark as (
  scope text, looked_at timestamptz, look_took interval, swept_at timestamptz,
  priorities integer[], due_ats timestamptz[], ids uuid[]);
comment on type runledger._mark is
  'Where the claims of a session left off: the last job taken in each priority; when the index was '
  'last read from its start, and for how long (0: it was cheap); up to when all that was due has '
  'been walked over, -infinity if it is not known. Internal.';

create type runledger._walk as (picked runledger._pick, mark runledger._mark);
comment on type runledger._walk is
  'What one walk of a claim through the queue locked, and the mark at its end. Internal.';

create type runledger._outcome as (
  ordinal integer, job_id uuid, lease_token bigint, outcome text, kind text, error_code text,
  error_message text, not_before timestamptz, reason text, delay_ms bigint, output jsonb,
    checkpoint jsonb, done bigint,
  total bigint, code text);
comment on type runledger._outcome is
  'One decoded outcome of finish_jobs; code says why it is refused. Internal.';

create type runledger._successes as (
  ordinals integer[], job_ids uuid[], lease_tokens bigint[], outputs jsonb[], places tid[],
  runs uuid[]);
comment on type runledger._successes is
  'Plain successes of a batch, by job id, with the places of the job rows, and the runs they '
  'belong to. Internal.';

create type runledger._verdict as (
  job_id uuid, job_type text, settlement runledger._settlement, result runledger.finished_job,
  quiets boolean);
comment on type runledger._verdict is
  'What one outcome comes to: how the lease ends (or NULL), what is reported, and whether it '
  'tells that a canceled handler is quiet. Internal.';

create type runledger._held_job as (
  id uuid, job_type text, status runledger.job_status, run_number integer, attempt integer,
  max_attempts integer, lease_token bigint, lease_expires_at timestamptz, last_lease_token bigint,
  last_disposition text, release_count integer, progress_done bigint, progress_total bigint,
  workflow_run_id uuid, lease_role text);
comment on type runledger._held_job is
  'What a decision about a lease needs to know of its job: no JSON, so nothing is fetched from '
  'TOAST. Internal.';

create type runledger.enqueued_workflow as (workflow_run_id uuid, disposition text, status text);
comment on type runledger.enqueued_workflow is
  'Result of enqueue_workflow: disposition INSERTED, EXISTING (same key, same request) or '
  'EXISTING_ACTIVE (a live run holds the active key).';

create type runledger.workflow_problem as (
  ordinal integer, step_key text, code text, message text);
comment on type runledger.workflow_problem is
  'One thing that is wrong with a list of steps: place in the list, key, code and words.';

create type runledger.workflow_plan_step as (
  level integer, step_key text, job_type text, waits_for text[], handler text, workers bigint);
comment on type runledger.workflow_plan_step is
  'One line of explain_workflow: when a step could run at the earliest, what it waits for, '
  'whether its type is DEFINED, DISABLED, PAUSED or UNKNOWN (EXTERNAL for a gate), and how many '
  'workers handle it.';

create type runledger.completed_step as (
  workflow_run_id uuid, step_key text, status text, replayed boolean, run_status text);
comment on type runledger.completed_step is 'Result of complete_external_step.';

create type runledger.appended_step as (
  workflow_run_id uuid, step_key text, status text, disposition text);
comment on type runledger.appended_step is
  'One row per appended step, in the order given: disposition APPENDED or ALREADY_APPLIED.';

create type runledger.canceled_workflow as (
  workflow_run_id uuid, disposition text, status text);
comment on type runledger.canceled_workflow is
  'Result of cancel_workflow: disposition CANCELED or UNCHANGED.';

create type runledger.workflow_outcome as (
  workflow_run_id uuid, status text, is_finished boolean, result_step_key text, result jsonb,
  finished_at timestamptz);
comment on type runledger.workflow_outcome is 'Result of workflow_result and await_workflow.';

create type runledger.workflow_record as (
  workflow_run_id uuid, workflow_type text, organization_id uuid, status text,
  idempotency_key text, active_key text, metadata jsonb, steps_total integer,
  steps_active integer, steps_waiting integer, steps_failed integer, steps_succeeded integer,
  result_step_key text, result jsonb, status_reason text, started_at timestamptz,
  finished_at timestamptz, created_at timestamptz, updated_at timestamptz);
comment on type runledger.workflow_record is 'Everything about a run but its steps.';

create type runledger.workflow_summary as (
  workflow_run_id uuid, workflow_type text, organization_id uuid, status text,
  steps_total integer, steps_active integer, steps_waiting integer, steps_failed integer,
  steps_succeeded integer, status_reason text, started_at timestamptz, finished_at timestamptz,
  created_at timestamptz);
comment on type runledger.workflow_summary is 'A run in a list: no JSON.';

create type runledger.workflow_step_summary as (
  workflow_run_id uuid, ordinal integer, step_key text, execution_kind text, status text,
  job_id uuid, job_type text, organization_id uuid, priority integer, max_attempts integer,
  timeout_seconds integer, stage text, allow_continuation boolean, gate_timeout_seconds integer,
  on_timeout text, gate_expires_at timestamptz, dependency_count_total integer,
  dependency_count_pending integer, dependency_count_unsatisfied integer, status_reason text,
  last_error_code text, last_error_message text, released_at timestamptz,
  started_at timestamptz, finished_at timestamptz, created_at timestamptz,
  updated_at timestamptz);
comment on type runledger.workflow_step_summary is 'A step in a list: no JSON.';

create type runledger.workflow_step_record as (
  workflow_run_id uuid, ordinal integer, step_key text, execution_kind text, status text,
  job_id uuid, job_type text, organization_id uuid, priority integer, max_attempts integer,
  timeout_seconds integer, stage text, allow_continuation boolean, gate_timeout_seconds integer,
  on_timeout text, gate_expires_at timestamptz, dependency_count_total integer,
  dependency_count_pending integer, dependency_count_unsatisfied integer, status_reason text,
  last_error_code text, last_error_message text, payload jsonb, output jsonb,
  released_at timestamptz, started_at timestamptz, finished_at timestamptz,
  created_at timestamptz, updated_at timestamptz);
comment on type runledger.workflow_step_record is 'Everything about a step.';

create type runledger.workflow_edge as (
  workflow_run_id uuid, dependent_ordinal integer, dependent_key text,
  prerequisite_ordinal integer, prerequisite_key text, release_mode text,
  prerequisite_status text, prerequisite_is_hidden boolean);
comment on type runledger.workflow_edge is
  'One edge of a run: release_mode ON_SUCCESS or ON_TERMINAL. A hidden prerequisite belongs to '
  'another tenant and has neither key nor status.';

create type runledger.workflow_mutation as (
  workflow_run_id uuid, mutation_key text, append_window text, steps integer, step_keys text[],
  created_at timestamptz);
comment on type runledger.workflow_mutation is
  'One append to a run: how many steps, and the keys of the first thousand.';

create type runledger.step_input as (step_key text, status text, output jsonb);
comment on type runledger.step_input is 'One input of a step: a prerequisite and its output.';

create type runledger.access_grant as (
  role_name text, kind text, job_types text[], disposition text);
comment on type runledger.access_grant is
  'Result of grant_access (GRANTED, CHANGED, UNCHANGED) and revoke_access (REVOKED).';

create type runledger.operator_action as (
  id bigint, role_name text, action text, object text, reason text, detail jsonb,
  occurred_at timestamptz);
comment on type runledger.operator_action is 'One line of list_operator_actions.';

create type runledger._step_item as (
  nth integer, step_key text, is_external boolean, job_type text, payload jsonb,
  after_success text[], after_terminal text[], priority integer, max_attempts integer,
  timeout_seconds integer, stage text, organization_id uuid, allow_continuation boolean,
  on_timeout text, problems text[]);
comment on type runledger._step_item is
  'One decoded step of a workflow; problems has the codes of what is wrong with it. Internal.';

create type runledger._step_order as (places integer[], levels integer[], cycle integer[]);
comment on type runledger._step_order is
  'Place in topological order and level of each step, or the members of a cycle. Internal.';

create type runledger._finished_step as (
  step_id uuid, workflow_run_id uuid, status runledger.step_status);
comment on type runledger._finished_step is 'A step that has just finished. Internal.';

create type runledger._cron as (
  seconds bigint, minutes bigint, hours integer, days bigint, months integer, weekdays integer,
  any_day boolean, any_weekday boolean, follows_real_time boolean);
comment on type runledger._cron is
  'A parsed cron expression: bit n of a field is set if n matches. any_day, any_weekday: the '
  'field is a star, so that the other one alone decides. follows_real_time: minute or hour have a '
  'star, so that a change of the clocks neither skips nor moves a fire. Internal.';

create type runledger._fire as (base_at timestamptz, fire_at timestamptz);
comment on type runledger._fire is
  'A fire of a schedule: the cron instant, and the same with jitter. Internal.';

create type runledger.schedule_change as (
  name text, disposition text, next_fire_at timestamptz, is_active boolean);
comment on type runledger.schedule_change is
  'Result of upsert_schedule (INSERTED, UPDATED, UNCHANGED), pause_schedule (PAUSED, UNCHANGED), '
  'resume_schedule (RESUMED, UNCHANGED) and delete_schedule (DELETED).';

create type runledger.schedule_summary as (
  schedule_id uuid, name text, job_type text, workflow_type text, organization_id uuid,
  cron_expr text, timezone text, missed text, max_jitter_seconds integer, is_active boolean,
  state text, paused_at timestamptz, paused_by text, paused_reason text, next_fire_at timestamptz,
  due_at timestamptz, last_fired_at timestamptz, deferred_at timestamptz,
  deferred_until timestamptz, deferred_code text, created_at timestamptz,
  updated_at timestamptz);
comment on type runledger.schedule_summary is
  'A schedule in a list: no JSON. state: as in the view schedules.';

create type runledger.schedule_record as (
  schedule_id uuid, name text, job_type text, workflow_type text, organization_id uuid,
  cron_expr text, timezone text, missed text, max_jitter_seconds integer, is_active boolean,
  state text, paused_at timestamptz, paused_by text, paused_reason text, next_fire_at timestamptz,
  due_at timestamptz, last_fired_at timestamptz, deferred_at timestamptz,
  deferred_until timestamptz, deferred_code text, payload jsonb, steps jsonb,
  created_at timestamptz, updated_at timestamptz);
comment on type runledger.schedule_record is
  'Everything about a schedule: payload of its jobs, or steps of its workflows. state: as in the '
  'view schedules.';

create type runledger.schedule_preview as (
  fires_at timestamptz, local_time text, utc_offset text, note text);
comment on type runledger.schedule_preview is
  'One coming fire: the instant, what the clocks of the zone show then, their offset, and what a '
  'change of the clocks has to do with it.';

create type runledger.catalog_change as (
  kind text, name text, action text, changes jsonb, code text);
comment on type runledger.catalog_change is
  'One row per job type (JOB_TYPE) and schedule (SCHEDULE) of sync_catalog: INSERTED, UPDATED, '
  'UNCHANGED, RESTORED, DISABLED, PAUSED, or REFUSED with the reason in code. changes has each '
  'changed setting with old and new value; those of payload and steps are not shown.';

create type runledger._catalog_entry as (
  kind text, name text, action text, changes jsonb, code text,
  definition runledger.job_definitions, schedule runledger.job_schedules, fires_at timestamptz);
comment on type runledger._catalog_entry is
  'A job type or a schedule as a catalog wants it, and what that comes to; fires_at is the first '
  'fire that was asked for. Internal.';

create type runledger.fired_schedule as (
  name text, job_id uuid, workflow_run_id uuid, scheduled_for timestamptz,
  next_fire_at timestamptz, disposition text, code text);
comment on type runledger.fired_schedule is
  'Result of fire_due_schedules: disposition FIRED, SKIPPED (code MISSED or ALREADY_FIRED) or '
  'DEFERRED (code says why; tried again at next_fire_at).';
