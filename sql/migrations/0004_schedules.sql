-- 0004: cron schedules.
-- Lock: none to speak of, everything is new.
create table runledger.job_schedules (
  id                 uuid        primary key,
  name               text        not null,
  job_type           text        references runledger.job_definitions on delete restrict,
  workflow_type      text,
  workflow_steps     jsonb,
  organization_id    uuid,
  payload_template   jsonb       not null default '{}',
  cron_expr          text        not null,
  timezone           text        not null default 'UTC',
  missed             text        not null default 'ONCE',
  max_jitter_seconds integer     not null default 0,
  is_active          boolean     not null default true,
  paused_at          timestamptz,
  paused_by          text,
  paused_reason      text,
  next_fire_at       timestamptz not null,
  next_base_at       timestamptz not null,
  last_fired_at      timestamptz,
  deferred_at        timestamptz,
  deferred_until     timestamptz,
  deferred_code      text,
  due_at             timestamptz generated always as (
    greatest(next_fire_at, deferred_until)) stored,
  catalog            text,
  absent_at          timestamptz,
  created_at         timestamptz not null,
  updated_at         timestamptz not null,
  constraint a_schedule_name_is_unique unique (name),
  constraint a_schedule_name_is_not_blank check (
    name ~ '[^[:space:]]' and octet_length(name) <= 200),
  constraint a_schedule_starts_a_job_or_a_workflow check (
    (job_type is not null) <> (workflow_type is not null)
    and (workflow_type is null) = (workflow_steps is null)),
  constraint a_cron_expression_is_not_blank check (cron_expr ~ '[^[:space:]]'),
  constraint a_timezone_is_not_blank check (timezone ~ '[^[:space:]]'),
  constraint missed_fires_are_taken_once_skipped_or_all check (missed in ('ONCE', 'SKIP', 'ALL')),
  constraint jitter_is_at_most_a_day check (max_jitter_seconds between 0 and 86400),
  constraint a_schedule_fires_at_a_finite_time check (
    isfinite(next_fire_at) and isfinite(next_base_at)),
  constraint only_an_inactive_schedule_says_who_paused_it check (
    paused_at is null or not is_active),
  constraint a_deferred_schedule_says_why check (
    (deferred_at is null) = (deferred_code is null)
    and (deferred_at is null) = (deferred_until is null)),
  constraint only_a_schedule_of_a_catalog_is_absent_from_it check (
    absent_at is null or catalog is not null)
);
comment on table runledger.job_schedules is
  'The cron schedules: what to start, when next, and what to do about missed fires.';
comment on column runledger.job_schedules.id is 'Identity of the schedule (uuid v7).';
comment on column runledger.job_schedules.name is 'Its name.';
comment on column runledger.job_schedules.job_type is 'Type of the job it enqueues.';
comment on column runledger.job_schedules.workflow_type is 'Or type of the workflow it starts.';
comment on column runledger.job_schedules.workflow_steps is 'Steps of that workflow.';
comment on column runledger.job_schedules.organization_id is 'Tenant of what it starts.';
comment on column runledger.job_schedules.payload_template is 'Payload; _schedule is added to it.';
comment on column runledger.job_schedules.cron_expr is 'The cron expression as given.';
comment on column runledger.job_schedules.timezone is
  'IANA time zone in which the expression is read.';
comment on column runledger.job_schedules.missed is
  'ONCE: one fire for all that were missed. SKIP: none that is over a minute late. ALL: each, '
  'oldest first.';
comment on column runledger.job_schedules.max_jitter_seconds is
  'Most delay added to a fire: always the same for the same instant, and never past the next one.';
comment on column runledger.job_schedules.is_active is 'false: does not fire.';
comment on column runledger.job_schedules.paused_at is 'Since when an operator paused it.';
comment on column runledger.job_schedules.paused_by is 'Who.';
comment on column runledger.job_schedules.paused_reason is 'Why.';
comment on column runledger.job_schedules.next_fire_at is
  'The cursor: what it fires next, jitter included; the scheduled_for of that fire.';
comment on column runledger.job_schedules.next_base_at is 'The cron instant behind next_fire_at.';
comment on column runledger.job_schedules.last_fired_at is 'When it fired last.';
comment on column runledger.job_schedules.deferred_at is 'When a fire last failed and was put off.';
comment on column runledger.job_schedules.deferred_until is 'When that fire is tried again.';
comment on column runledger.job_schedules.deferred_code is 'Why it failed.';
comment on column runledger.job_schedules.due_at is
  'When it is looked at next: at next_fire_at, or once it is no longer put off.';
comment on column runledger.job_schedules.catalog is
  'The code-owned set that it belongs to, see sync_catalog; NULL: none.';
comment on column runledger.job_schedules.absent_at is
  'Since when that catalog lists it no more; equal to paused_at if that is why it is paused.';
comment on column runledger.job_schedules.created_at is 'When it was first set.';
comment on column runledger.job_schedules.updated_at is 'When the row last changed.';
create index job_schedules_due_idx on runledger.job_schedules (due_at, id) where is_active;
comment on index runledger.job_schedules_due_idx is 'Active schedules by when they are due.';
