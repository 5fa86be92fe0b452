-- 0003: workflow runs, their steps and edges, and what was appended to them.
-- Lock: none to speak of, everything is new.

create type runledger.workflow_run_status as enum
  ('RUNNING', 'WAITING_FOR_EXTERNAL', 'SUCCEEDED', 'COMPLETED_WITH_ERRORS', 'CANCELED');
comment on type runledger.workflow_run_status is
  'RUNNING: a step is blocked, queued or running. WAITING_FOR_EXTERNAL: only gates are open. The '
  'rest: finished.';

create type runledger.step_status as enum
  ('BLOCKED', 'WAITING_FOR_EXTERNAL', 'ENQUEUED', 'RUNNING', 'SUCCEEDED', 'FAILED', 'CANCELED');
comment on type runledger.step_status is
  'BLOCKED: prerequisites are open. WAITING_FOR_EXTERNAL: an open gate. ENQUEUED, RUNNING: as its '
  'job. The rest: finished.';

create type runledger.workflow_dependency_release_mode as enum ('ON_TERMINAL', 'ON_SUCCESS');
comment on type runledger.workflow_dependency_release_mode is
  'ON_SUCCESS: the dependent runs only if the prerequisite succeeded. ON_TERMINAL: whatever '
  'became of it.';

create type runledger.workflow_step_execution_kind as enum ('JOB', 'EXTERNAL');
comment on type runledger.workflow_step_execution_kind is
  'JOB: a job does the work. EXTERNAL: a gate, completed by a call.';

create table runledger.workflow_runs (
  id              uuid        primary key,
  workflow_type   text        not null,
  organization_id uuid,
  status          runledger.workflow_run_status not null default 'RUNNING',
  idempotency_key text,
  active_key      text,
  metadata        jsonb       not null default '{}',
  enqueue_request jsonb,
  steps_total     integer     not null default 0,
  steps_active    integer     not null default 0,
  steps_waiting   integer     not null default 0,
  steps_failed    integer     not null default 0,
  steps_succeeded integer     not null default 0,
  result_step_key text,
  result          jsonb,
  status_reason   text,
  active_key_held boolean     not null default false,
  awaited_until   timestamptz,
  pruned_at       timestamptz,
  started_at      timestamptz not null,
  finished_at     timestamptz,
  created_at      timestamptz not null,
  updated_at      timestamptz not null,
  constraint step_counters_are_not_negative check (
    least(steps_total, steps_active, steps_waiting, steps_failed, steps_succeeded) >= 0),
  constraint every_step_is_counted_once check (
    steps_total = steps_active + steps_waiting + steps_failed + steps_succeeded),
  constraint run_status_follows_from_its_counters check (
    status = case
      when status = 'CANCELED' then 'CANCELED'
      when steps_active > 0 then 'RUNNING'
      when steps_waiting > 0 then 'WAITING_FOR_EXTERNAL'
      when steps_failed > 0 then 'COMPLETED_WITH_ERRORS'
      else 'SUCCEEDED' end::runledger.workflow_run_status),
  constraint a_canceled_run_has_nothing_open check (
    status <> 'CANCELED' or steps_active + steps_waiting = 0),
  constraint exactly_the_finished_runs_have_finished_at check (
    (status in ('SUCCEEDED', 'COMPLETED_WITH_ERRORS', 'CANCELED')) = (finished_at is not null)),
  constraint only_a_succeeded_run_has_a_result check (result is null or status = 'SUCCEEDED'),
  constraint only_a_run_with_a_key_holds_it check (not active_key_held or active_key is not null),
  constraint only_a_finished_run_is_pruned check (pruned_at is null or finished_at is not null)
) with (
  -- The row is the mutex of the run and is updated by each completion of a step: keep its versions
  -- on one page.
  fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
comment on table runledger.workflow_runs is
  'The workflow runs. The row is the mutex of the run: whoever changes its steps holds it first.';
comment on column runledger.workflow_runs.id is 'Identity of the run (uuid v7).';
comment on column runledger.workflow_runs.workflow_type is
  'Name of the workflow, for people and lists.';
comment on column runledger.workflow_runs.organization_id is 'Tenant; NULL: global.';
comment on column runledger.workflow_runs.status is
  'Derived from the counters; see the type workflow_run_status.';
comment on column runledger.workflow_runs.idempotency_key is 'Unique per workflow_type and tenant.';
comment on column runledger.workflow_runs.active_key is 'At most one live run per key and tenant.';
comment on column runledger.workflow_runs.metadata is 'Free data of the caller.';
comment on column runledger.workflow_runs.enqueue_request is
  'The request of a keyed run as made, to tell a retry from a conflict.';
comment on column runledger.workflow_runs.steps_total is 'Steps in all.';
comment on column runledger.workflow_runs.steps_active is 'Steps BLOCKED, ENQUEUED or RUNNING.';
comment on column runledger.workflow_runs.steps_waiting is 'Steps WAITING_FOR_EXTERNAL.';
comment on column runledger.workflow_runs.steps_failed is 'Steps FAILED or CANCELED.';
comment on column runledger.workflow_runs.steps_succeeded is 'Steps SUCCEEDED.';
comment on column runledger.workflow_runs.result_step_key is
  'The step whose output becomes the result.';
comment on column runledger.workflow_runs.result is 'Output of the result step of a succeeded run.';
comment on column runledger.workflow_runs.status_reason is 'Why it was canceled.';
comment on column runledger.workflow_runs.active_key_held is
  'The key is taken: while the run is live, and after a cancel until its leases are quiet.';
comment on column runledger.workflow_runs.awaited_until is
  'Somebody waits for the end of the run until then and wants to be notified.';
comment on column runledger.workflow_runs.pruned_at is
  'Since when prune has been taking it away, piece by piece; no function shows it any more.';
comment on column runledger.workflow_runs.started_at is 'When it began.';
comment on column runledger.workflow_runs.finished_at is 'When it reached a finished status.';
comment on column runledger.workflow_runs.created_at is 'When it was enqueued.';
comment on column runledger.workflow_runs.updated_at is 'When the row last changed.';
create unique index workflow_runs_one_run_per_tenant_key on runledger.workflow_runs
  (workflow_type, organization_id, idempotency_key) where idempotency_key is not null
    and organization_id is not null;
comment on index runledger.workflow_runs_one_run_per_tenant_key is
  'One run per type, tenant and idempotency key.';
create unique index workflow_runs_one_run_per_global_key on runledger.workflow_runs
  (workflow_type, idempotency_key) where idempotency_key is not null and organization_id is null;
comment on index runledger.workflow_runs_one_run_per_global_key is
  'One run per type and idempotency key without a tenant.';
create unique index workflow_runs_one_live_run_per_tenant_key on runledger.workflow_runs
  (organization_id, active_key) where active_key_held and organization_id is not null;
comment on index runledger.workflow_runs_one_live_run_per_tenant_key is
  'One live run per tenant and active key.';
create unique index workflow_runs_one_live_run_per_global_key on runledger.workflow_runs
  (active_key) where active_key_held and organization_id is null;
comment on index runledger.workflow_runs_one_live_run_per_global_key is
  'One live run per active key without a tenant.';
create index workflow_runs_tenant_idx on runledger.workflow_runs (organization_id, id)
  where organization_id is not null;
comment on index runledger.workflow_runs_tenant_idx is 'Lists of one tenant, newest first.';
create index workflow_runs_pruned_idx on runledger.workflow_runs (id) where pruned_at is not null;
comment on index runledger.workflow_runs_pruned_idx is 'Runs that prune is taking away.';
create index workflow_runs_live_idx on runledger.workflow_runs (id)
  where status in ('RUNNING', 'WAITING_FOR_EXTERNAL');
comment on index runledger.workflow_runs_live_idx is 'Runs that are not finished.';

create table runledger.workflow_steps (
  id                             uuid        primary key,
  workflow_run_id                uuid        not null
    references runledger.workflow_runs on delete cascade,
  ordinal                        integer     not null,
  step_key                       text        not null,
  execution_kind                 runledger.workflow_step_execution_kind not null default 'JOB',
  status                         runledger.step_status not null default 'BLOCKED',
  job_id                         uuid,
  job_type                       text
    references runledger.job_definitions on delete restrict,
  organization_id                uuid,
  payload                        jsonb       not null default '{}',
  priority                       integer,
  max_attempts                   integer,
  timeout_seconds                integer,
  stage                          text,
  allow_continuation             boolean     not null default false,
  gate_timeout_seconds           integer,
  on_timeout                     text,
  gate_expires_at                timestamptz,
  dependency_count_total         integer     not null default 0,
  dependency_count_pending       integer     not null default 0,
  dependency_count_unsatisfied   integer     not null default 0,
  output                         jsonb,
  status_reason                  text,
  last_error_code                text,
  last_error_message             text,
  released_at                    timestamptz,
  started_at                     timestamptz,
  finished_at                    timestamptz,
  created_at                     timestamptz not null,
  updated_at                     timestamptz not null,
  constraint a_step_key_is_unique_in_its_run unique (workflow_run_id, step_key),
  constraint a_step_has_its_own_place_in_the_order unique (workflow_run_id, ordinal),
  constraint dependency_counters_stay_within_their_total check (
    least(dependency_count_pending, dependency_count_unsatisfied) >= 0
    and greatest(dependency_count_pending, dependency_count_unsatisfied)
      <= dependency_count_total),
  constraint a_blocked_step_waits_for_something check (
    status <> 'BLOCKED' or dependency_count_pending > 0),
  constraint a_released_step_has_all_it_needs check (
    status in ('BLOCKED', 'CANCELED') or (dependency_count_pending = 0
      and dependency_count_unsatisfied = 0)),
  constraint only_a_gate_waits check (
    status <> 'WAITING_FOR_EXTERNAL' or execution_kind = 'EXTERNAL'),
  constraint only_a_job_step_is_queued_and_runs check (
    status not in ('ENQUEUED', 'RUNNING') or (execution_kind = 'JOB' and job_id is not null)),
  constraint exactly_the_finished_steps_have_finished_at check (
    (status in ('SUCCEEDED', 'FAILED', 'CANCELED')) = (finished_at is not null)),
  constraint only_a_succeeded_step_has_an_output check (output is null or status = 'SUCCEEDED')
) with (
  -- A step is released, claimed and finished: room for those versions on its page, or each writes
  -- all its index entries anew.
  fillfactor = 40, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
);
comment on table runledger.workflow_steps is
  'The steps of the runs; job_id is the only link between a step and its job.';
comment on column runledger.workflow_steps.id is 'Identity of the step (uuid v7).';
comment on column runledger.workflow_steps.workflow_run_id is 'Its run.';
comment on column runledger.workflow_steps.ordinal is
  'Place in the topological order: a prerequisite has a smaller one.';
comment on column runledger.workflow_steps.step_key is 'Its name in the run.';
comment on column runledger.workflow_steps.execution_kind is 'JOB or EXTERNAL.';
comment on column runledger.workflow_steps.status is 'see the type step_status.';
comment on column runledger.workflow_steps.job_id is
  'Its job, from the release on. No foreign key: finished steps outlive pruned jobs.';
comment on column runledger.workflow_steps.job_type is 'Type of its job.';
comment on column runledger.workflow_steps.organization_id is
  'Tenant of the step: its own or that of the run.';
comment on column runledger.workflow_steps.payload is
  'Payload of its job, or data for those who complete the gate.';
comment on column runledger.workflow_steps.priority is 'Priority of its job.';
comment on column runledger.workflow_steps.max_attempts is 'Attempts of its job.';
comment on column runledger.workflow_steps.timeout_seconds is 'Timeout of its job, in seconds.';
comment on column runledger.workflow_steps.stage is 'First stage of its job.';
comment on column runledger.workflow_steps.allow_continuation is
  'Its handler may end with a continuation.';
comment on column runledger.workflow_steps.gate_timeout_seconds is
  'Time a gate waits, in seconds, from its release.';
comment on column runledger.workflow_steps.on_timeout is
  'What then: SUCCEEDED, FAILED or CANCELED.';
comment on column runledger.workflow_steps.gate_expires_at is 'When an open gate times out.';
comment on column runledger.workflow_steps.dependency_count_total is 'Prerequisites in all.';
comment on column runledger.workflow_steps.dependency_count_pending is
  'Prerequisites not finished.';
comment on column runledger.workflow_steps.dependency_count_unsatisfied is
  'ON_SUCCESS prerequisites that did not succeed.';
comment on column runledger.workflow_steps.output is
  'Output of the step, given to its dependents as inputs.';
comment on column runledger.workflow_steps.status_reason is 'Why it is where it is.';
comment on column runledger.workflow_steps.last_error_code is 'Code of its failure.';
comment on column runledger.workflow_steps.last_error_message is 'Message of its failure.';
comment on column runledger.workflow_steps.released_at is 'When its prerequisites let it go.';
comment on column runledger.workflow_steps.started_at is 'First claim of its job.';
comment on column runledger.workflow_steps.finished_at is 'When it finished.';
comment on column runledger.workflow_steps.created_at is 'When it was added.';
comment on column runledger.workflow_steps.updated_at is 'When the row last changed.';
create unique index workflow_steps_one_step_per_job on runledger.workflow_steps (job_id)
  where job_id is not null;
comment on index runledger.workflow_steps_one_step_per_job is 'A job belongs to at most one step.';
-- The status must stand in no index and no predicate: that leaves all changes of a step but its
-- release HOT. So only an open gate has gate_expires_at.
create index workflow_steps_gate_timeout_idx on runledger.workflow_steps (gate_expires_at)
  where gate_expires_at is not null;
comment on index runledger.workflow_steps_gate_timeout_idx is
  'Open gates by the time they run out.';

create table runledger.workflow_step_dependencies (
  workflow_run_id      uuid not null,
  prerequisite_step_id uuid not null,
  dependent_step_id    uuid not null,
  release_mode         runledger.workflow_dependency_release_mode not null default 'ON_TERMINAL',
  created_at           timestamptz not null,
  primary key (workflow_run_id, prerequisite_step_id, dependent_step_id),
  constraint no_step_waits_for_itself check (prerequisite_step_id <> dependent_step_id)
);
comment on table runledger.workflow_step_dependencies is
  'The edges: which step waits for which, and how. No foreign keys: the checks would cost more '
  'than the rows; fsck proves them.';
comment on column runledger.workflow_step_dependencies.workflow_run_id is
  'The run; both ends belong to it.';
comment on column runledger.workflow_step_dependencies.prerequisite_step_id is
  'The step that must finish.';
comment on column runledger.workflow_step_dependencies.dependent_step_id is 'The step that waits.';
comment on column runledger.workflow_step_dependencies.release_mode is 'ON_SUCCESS or ON_TERMINAL.';
comment on column runledger.workflow_step_dependencies.created_at is 'When the edge was added.';
create index workflow_step_dependencies_dependent_idx
  on runledger.workflow_step_dependencies (dependent_step_id, prerequisite_step_id);
comment on index runledger.workflow_step_dependencies_dependent_idx is
  'The prerequisites of a step: inputs, why, fsck.';

create table runledger.workflow_run_mutations (
  workflow_run_id uuid        not null references runledger.workflow_runs on delete cascade,
  mutation_key    text        not null,
  append_window   text        not null,
  metadata        jsonb       not null default '{}',
  request         jsonb       not null,
  step_keys       text[]      not null,
  created_at      timestamptz not null,
  primary key (workflow_run_id, mutation_key),
  constraint a_mutation_key_is_not_blank check (
    btrim(mutation_key, E' \t\n\r\f\x0b') <> '' and octet_length(mutation_key) <= 512)
);
comment on table runledger.workflow_run_mutations is
  'What was appended to a run: a repeated append is known by its key.';
comment on column runledger.workflow_run_mutations.workflow_run_id is 'The run.';
comment on column runledger.workflow_run_mutations.mutation_key is 'Key of the append.';
comment on column runledger.workflow_run_mutations.append_window is
  'The open gate under which it was made.';
comment on column runledger.workflow_run_mutations.metadata is 'Free data of the caller.';
comment on column runledger.workflow_run_mutations.request is
  'The request as made, to tell a retry from a conflict.';
comment on column runledger.workflow_run_mutations.step_keys is
  'The appended steps, in the order given.';
comment on column runledger.workflow_run_mutations.created_at is 'When.';
