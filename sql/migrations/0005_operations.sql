-- 0005: who works here, and what the upkeep remembers.
-- Lock: none to speak of, everything is new.
create table runledger.workers (
  worker_id     text        primary key,
  job_types     text[]      not null,
  max_jobs      integer     not null,
  metadata      jsonb       not null default '{}',
  role_name     text        not null,
  registered_at timestamptz not null,
  last_seen_at  timestamptz not null,
  idle_until    timestamptz,
  constraint a_worker_id_is_not_blank check (worker_id ~ '[^[:space:]]'),
  constraint a_worker_id_has_at_most_200_bytes check (octet_length(worker_id) <= 200),
  constraint max_jobs_is_positive check (max_jobs > 0)
) with (
  -- Few rows, often updated: the whole table should stay a page or two.
  fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 200,
  autovacuum_vacuum_cost_delay = 0
);
comment on table runledger.workers is
  'The workers that said they are here. Only a help for wake-ups and for people: claiming asks '
  'nobody to register.';
comment on column runledger.workers.worker_id is 'The name under which it claims.';
comment on column runledger.workers.job_types is 'The types it handles.';
comment on column runledger.workers.max_jobs is 'How many jobs it runs at once.';
comment on column runledger.workers.metadata is
  'Host, process, version: what the worker says of itself.';
comment on column runledger.workers.role_name is 'The role it registered as.';
comment on column runledger.workers.registered_at is 'When it came.';
comment on column runledger.workers.last_seen_at is 'When it last said anything.';
comment on column runledger.workers.idle_until is
  'It wants to be woken until then; in the past or NULL: it is busy or gone.';

create table runledger.upkeep_state (
  only_row        boolean     primary key default true,
  timeline        text        not null,
  timeline_since  timestamptz not null,
  tokens_lifted   bigint      not null default 0,
  last_pass_at    timestamptz,
  rolled_up_to    bigint      not null default 0,
  mark_id         bigint,
  mark_xid        xid8,
  constraint a_mark_has_an_id_and_a_transaction check ((mark_id is null) = (mark_xid is null)),
  constraint there_is_one_row check (only_row)
);
comment on table runledger.upkeep_state is
  'What maintenance remembers from one pass to the next; one row.';
comment on column runledger.upkeep_state.only_row is 'Always true: holds the table to one row.';
comment on column runledger.upkeep_state.timeline is
  'The WAL timeline last seen. Another one means a fail-over: sequences may have gone back.';
comment on column runledger.upkeep_state.timeline_since is 'When that timeline was first seen.';
comment on column runledger.upkeep_state.tokens_lifted is
  'How often the token sequence was lifted past a fail-over.';
comment on column runledger.upkeep_state.last_pass_at is
  'When run_maintenance last worked, to half a minute.';
comment on column runledger.upkeep_state.rolled_up_to is
  'Events up to this id are counted in job_metrics_slots and job_metrics_totals, those above are '
  'not.';
comment on column runledger.upkeep_state.mark_id is
  'Rolling up may go on to this event once every transaction before mark_xid has ended.';
comment on column runledger.upkeep_state.mark_xid is
  'A transaction that began to write after the sequence of events stood at mark_id.';
-- From the start, because maintenance takes its turn by locking the row.
insert into runledger.upkeep_state (timeline, timeline_since)
values (left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), clock_timestamp());

create table runledger.job_metrics_slots (
  slot_at         timestamptz not null,
  job_type        text        not null,
  organization_id uuid,
  outcome         text        not null,
  bucket          smallint,
  events          bigint      not null,
  duration_us     bigint      not null default 0,
  constraint a_slot_counts_each_outcome_once unique nulls not distinct
    (slot_at, job_type, organization_id, outcome, bucket),
  constraint a_slot_counts_something check (events > 0 and duration_us >= 0)
) with (
  -- The slots of the present are updated by each roll-up: keep their versions on one page.
  fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05
);
-- No primary key, since some of what tells rows apart may be NULL. Without an identity no row could
-- be updated from the moment on in which somebody publishes all tables, for whatever purpose.
alter table runledger.job_metrics_slots replica identity full;
comment on table runledger.job_metrics_slots is
  'What happened to jobs in each five minutes of the last eight days, counted from job_events by '
  'run_maintenance. Exact up to upkeep_state.rolled_up_to.';
comment on column runledger.job_metrics_slots.slot_at is 'When the five minutes begin.';
comment on column runledger.job_metrics_slots.job_type is 'Type of the jobs.';
comment on column runledger.job_metrics_slots.organization_id is 'Their tenant; NULL: global.';
comment on column runledger.job_metrics_slots.outcome is
  'What happened: ENQUEUED, REQUEUED, CANCELED, DEAD_LETTERED; or how an attempt ended: SUCCEEDED, '
  'CONTINUED, RELEASED or the kind of its failure.';
comment on column runledger.job_metrics_slots.bucket is
  'How long the attempts ran: at most 10 ^ (bucket / 26) microseconds, and longer than the bucket '
  'below. NULL: no attempt ended, or it was never started.';
comment on column runledger.job_metrics_slots.events is 'How often.';
comment on column runledger.job_metrics_slots.duration_us is
  'How long these attempts ran together, in microseconds.';

create table runledger.job_metrics_totals (
  job_type    text     not null,
  outcome     text     not null,
  bucket      smallint,
  events      bigint   not null,
  duration_us bigint   not null default 0,
  constraint the_totals_count_each_outcome_once unique nulls not distinct
    (job_type, outcome, bucket),
  constraint totals_only_rise_from_zero check (events > 0 and duration_us >= 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
alter table runledger.job_metrics_totals replica identity full;
comment on table runledger.job_metrics_totals is
  'The same over all tenants and since the beginning: it only rises, whatever prune deletes.';
comment on column runledger.job_metrics_totals.job_type is 'Type of the jobs.';
comment on column runledger.job_metrics_totals.outcome is 'As in job_metrics_slots.';
comment on column runledger.job_metrics_totals.bucket is 'As in job_metrics_slots.';
comment on column runledger.job_metrics_totals.events is 'How often.';
comment on column runledger.job_metrics_totals.duration_us is
  'How long these attempts ran together, in microseconds.';

create table runledger.access_grants (
  role_name  text        not null,
  kind       text        not null,
  job_types  text[],
  granted_by text        not null,
  granted_at timestamptz not null,
  primary key (role_name, kind),
  constraint a_kind_is_one_of_four check (
    kind in ('producer', 'worker', 'operator', 'observer')),
  constraint only_a_producer_or_worker_is_held_to_job_types check (
    job_types is null or kind in ('producer', 'worker')),
  constraint a_restricted_grant_names_a_job_type check (cardinality(job_types) > 0)
);
comment on table runledger.access_grants is
  'Who may do what: the kinds of each role. Written by grant_access and revoke_access, which give '
  'the privileges; each apply gives them again.';
comment on column runledger.access_grants.role_name is 'The role, by name: a dump knows no other.';
comment on column runledger.access_grants.kind is 'producer, worker, operator or observer.';
comment on column runledger.access_grants.job_types is
  'The only job types it may enqueue (producer) or claim (worker); NULL: any.';
comment on column runledger.access_grants.granted_by is 'The role that granted it.';
comment on column runledger.access_grants.granted_at is 'When it was granted or last changed.';

create table runledger.operator_actions (
  id          bigint      generated always as identity primary key,
  role_name   text        not null,
  action      text        not null,
  object      text,
  reason      text,
  detail      jsonb       not null default '{}',
  occurred_at timestamptz not null,
  constraint an_action_is_not_blank check (action ~ '[^[:space:]]'),
  constraint details_of_an_action_are_an_object check (jsonb_typeof(detail) = 'object')
);
comment on table runledger.operator_actions is
  'What operators did: who, what, to what, why, when. Append-only: even the owner has no UPDATE, '
  'DELETE and TRUNCATE on it (grants.sql).';
comment on column runledger.operator_actions.id is 'Order of writing.';
comment on column runledger.operator_actions.role_name is 'The role that acted.';
comment on column runledger.operator_actions.action is 'The function it called.';
comment on column runledger.operator_actions.object is
  'What it was done to: id of a job or run, name of a type, schedule or role; NULL: many.';
comment on column runledger.operator_actions.reason is 'Why, in the words of that role.';
comment on column runledger.operator_actions.detail is
  'What changed, or how many: names, counts and settings, never a payload or a key.';
comment on column runledger.operator_actions.occurred_at is 'When, by the clock of the database.';

create table runledger.retention_settings (
  only_row     boolean     primary key default true,
  finished     interval    not null,
  dead_letters interval    not null,
  history      interval    not null,
  updated_by   text        not null,
  updated_at   timestamptz not null,
  constraint there_is_one_row check (only_row),
  constraint retention_is_not_negative check (
    least(finished, dead_letters, history) >= '0'::interval)
);
comment on table runledger.retention_settings is
  'How long run_maintenance keeps what is finished; no row: the defaults. Written by '
  'set_retention, shown by retention().';
comment on column runledger.retention_settings.only_row is
  'Always true: holds the table to one row.';
comment on column runledger.retention_settings.finished is
  'Finished jobs and workflow runs, from their end on; 0: for ever.';
comment on column runledger.retention_settings.dead_letters is
  'Dead-lettered jobs, and runs with such a job; 0: for ever.';
comment on column runledger.retention_settings.history is
  'Events and log lines, by whole days; 0: for ever.';
comment on column runledger.retention_settings.updated_by is 'The role that last changed it.';
comment on column runledger.retention_settings.updated_at is 'When it last changed.';

create table runledger.prune_passes (
  caller                  text        primary key,
  older_than              interval    not null,
  dead_letters_older_than interval    not null,
  history_older_than      interval    not null,
  started_at              timestamptz not null,
  touched_at              timestamptz not null,
  ended_at                timestamptz,
  after_run_id            uuid,
  after_job_id            uuid,
  after_event_block       bigint,
  after_log_block         bigint,
  orphans_end_at          timestamptz,
  history_begins_at       timestamptz,
  constraint a_pass_is_made_by_maintenance_or_by_a_call check (caller in ('MAINTENANCE', 'CALL'))
) with (fillfactor = 50);
insert into runledger.prune_passes (caller, older_than, dead_letters_older_than,
  history_older_than, started_at, touched_at, ended_at)
select c.caller, '0', '0', '0', 'epoch', 'epoch', 'epoch'
  from (values ('MAINTENANCE'), ('CALL')) as c(caller);
comment on table runledger.prune_passes is
  'Where prune left off, one row for run_maintenance and one for calls of prune: a pass walks all '
  'runs, all jobs and the default partitions once, a bounded piece at a time.';
comment on column runledger.prune_passes.caller is 'MAINTENANCE or CALL.';
comment on column runledger.prune_passes.older_than is
  'How old a finished job or run had to be; 0: none is.';
comment on column runledger.prune_passes.dead_letters_older_than is
  'How old a dead-lettered job had to be; 0: none is.';
comment on column runledger.prune_passes.history_older_than is
  'How old events and log lines had to be; 0: none is.';
comment on column runledger.prune_passes.started_at is 'When the pass began.';
comment on column runledger.prune_passes.touched_at is 'When it last went on.';
comment on column runledger.prune_passes.ended_at is 'When it was over; NULL: it goes on.';
comment on column runledger.prune_passes.after_run_id is
  'The last run that was looked at; NULL: all were.';
comment on column runledger.prune_passes.after_job_id is
  'The last job that was looked at; NULL: all were.';
comment on column runledger.prune_passes.after_event_block is
  'First block of the default partition of job_events not looked at; NULL: all were.';
comment on column runledger.prune_passes.after_log_block is
  'First block of the default partition of job_logs not looked at; NULL: all were.';
comment on column runledger.prune_passes.orphans_end_at is
  'No pruned job had an event from then on; fsck takes older events without a job for theirs.';
comment on column runledger.prune_passes.history_begins_at is
  'Events before this instant may be gone; fsck does not look at them.';
