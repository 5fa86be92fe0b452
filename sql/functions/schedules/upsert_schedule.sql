-- Create a schedule, or change the one of that name. What runs does not change where it is: the
-- cursor stays unless expression or zone change, and a schedule that is paused stays paused.
--
-- Locks:  the schedule row, then the definitions of its job types (shared).
-- Writes: job_schedules, operator_actions; nothing when nothing changes.
-- Raises: RL002 job_schedule.definition_not_found_or_disabled, RL010 job_schedule.invalid_*,
--         job_schedule.cron_never_fires, RL011 for payload, RL030 for steps,
--         RL021 job_schedule.upsert_conflict_missing_existing: call again.
create or replace function runledger.upsert_schedule(
  name               text,
  job_type           text,
  cron               text,
  timezone           text default 'UTC',
  payload            jsonb default '{}',
  organization_id    uuid default null,
  max_jitter_seconds integer default 0,
  missed             text default 'ONCE',
  is_active          boolean default null,
  next_fire_at       timestamptz default null,
  workflow_type      text default null,
  steps              jsonb default null
)
returns runledger.schedule_change
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set plan_cache_mode = auto set enable_nestloop = on
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_old runledger.job_schedules;
  v_new runledger.job_schedules;
  v_fire runledger._fire;
begin
  v_new.id := runledger._uuidv7();
  v_new.name := upsert_schedule.name;
  v_new.job_type := upsert_schedule.job_type;
  v_new.workflow_type := upsert_schedule.workflow_type;
  v_new.workflow_steps := upsert_schedule.steps;
  v_new.payload_template := coalesce(upsert_schedule.payload, '{}');
  v_new.cron_expr := upsert_schedule.cron;
  v_new.timezone := upsert_schedule.timezone;
  v_new.missed := upsert_schedule.missed;
  v_new.max_jitter_seconds := upsert_schedule.max_jitter_seconds;
  v_new.organization_id := upsert_schedule.organization_id;
  perform runledger._parse_cron(v_new.cron_expr);
  perform runledger._check_schedule(v_new, upsert_schedule.next_fire_at, v_now);
  -- The schedule comes before its types, also when it is new; but without a type there is nothing
  -- to refer to.
  if v_new.job_type is not null and not exists (
    select from runledger.job_definitions as d where d.job_type = v_new.job_type) then
    perform runledger._require_schedule_types(v_new.job_type, null, false);
  end if;
  for v_round in 1..10 loop
    select s.* into v_old from runledger.job_schedules as s
     where s.name = upsert_schedule.name for no key update;
    v_new.id := coalesce(v_old.id, v_new.id);
    v_new.is_active := coalesce(upsert_schedule.is_active, v_old.is_active, true);
    v_fire := runledger._first_fire(v_new, upsert_schedule.next_fire_at, v_now);
    v_new.next_fire_at := v_fire.fire_at;
    v_new.next_base_at := v_fire.base_at;
    if v_old.id is not null or runledger._insert_schedule(v_new, v_now) then
      perform runledger._require_schedule_types(
        v_new.job_type, v_new.workflow_steps, v_new.is_active);
      if v_old.id is not null then
        return runledger._update_schedule(v_old, v_new, v_now);
      end if;
      perform runledger._record_action('upsert_schedule', v_new.name, null, '{"created": true}');
      return row(v_new.name, 'INSERTED', v_new.next_fire_at,
        v_new.is_active)::runledger.schedule_change;
    end if;
  end loop;
  perform runledger._raise('job_schedule.upsert_conflict_missing_existing');
end
$$;

comment on function runledger.upsert_schedule(text, text, text, text, jsonb, uuid, integer, text,
  boolean, timestamptz, text, jsonb) is
  'Create a schedule or change it. cron and timezone: see next_fire_at(). It starts a job of '
  'job_type, or (job_type NULL) a workflow of workflow_type with those steps and payload as its '
  'metadata; _schedule (schedule_id, schedule_name, scheduled_for) is added to payload. '
  'max_jitter_seconds delays each fire by a constant of its own. missed: ONCE fires once for all '
  'that were missed, SKIP drops what is over a minute late, ALL fires each, oldest first. On '
  'update the tenant stays, is_active NULL keeps it active or paused, and the next fire stays '
  'unless cron or timezone change; then it is next_fire_at, or the first one from now. An equal '
  'call writes nothing.';
