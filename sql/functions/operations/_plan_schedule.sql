-- As for types: only what a sync paused itself (paused_at is absent_at) comes back. It was not
-- meant to fire meanwhile, so it missed nothing and goes on from now.
create or replace function runledger._plan_schedule(
  entry runledger._catalog_entry, old runledger.job_schedules, catalog text, enabled jsonb,
  now timestamptz)
returns runledger._catalog_entry
language plpgsql stable
as $$
declare
  v_old constant runledger.job_schedules := _plan_schedule.old;
  v_entry runledger._catalog_entry := _plan_schedule.entry;
  v_new runledger.job_schedules := v_entry.schedule;
  v_types constant text[] := runledger._schedule_types(v_new.job_type, v_new.workflow_steps);
  v_fire runledger._fire := row(v_old.next_base_at, v_old.next_fire_at);
  v_returns constant boolean := coalesce(v_old.paused_at = v_old.absent_at, false);
begin
  if v_old.catalog <> _plan_schedule.catalog and v_old.absent_at is null then
    v_entry.code := coalesce(v_entry.code, 'job_schedule.owned_by_another_catalog');
  end if;
  v_new.catalog := _plan_schedule.catalog;
  if v_old.id is not null then
    v_new.id := v_old.id;
    if v_old.paused_at is not null and not v_returns then
      v_new.is_active := false;
      v_new.paused_at := v_old.paused_at;
      v_new.paused_by := v_old.paused_by;
      v_new.paused_reason := v_old.paused_reason;
    end if;
  end if;
  if v_entry.code is null and exists (
    select from unnest(v_types) as t(job_type)
     where case when v_new.is_active
             then (_plan_schedule.enabled -> t.job_type) is distinct from 'true'
             else v_new.job_type is not null and not _plan_schedule.enabled ? t.job_type end) then
    v_entry.code := 'job_schedule.definition_not_found_or_disabled';
  end if;
  if v_entry.code is not null then
    v_entry.action := 'REFUSED';
    return v_entry;
  end if;
  if v_returns or (v_old.cron_expr, v_old.timezone) is distinct from
    (v_new.cron_expr, v_new.timezone) then
    v_fire := runledger._first_fire(v_new, v_entry.fires_at, _plan_schedule.now);
  end if;
  v_new.next_base_at := v_fire.base_at;
  v_new.next_fire_at := v_fire.fire_at;
  v_entry.action := 'INSERTED';
  if v_old.id is not null then
    v_entry.changes := runledger._setting_changes(
      runledger._schedule_settings(v_old), runledger._schedule_settings(v_new));
    v_entry.action := case when v_entry.changes = '{}' then 'UNCHANGED'
      when v_returns and v_new.is_active then 'RESTORED' else 'UPDATED' end;
  end if;
  v_entry.schedule := v_new;
  return v_entry;
end
$$;

comment on function runledger._plan_schedule(
  runledger._catalog_entry, runledger.job_schedules, text, jsonb, timestamptz) is
  'What becomes of a schedule that a catalog lists; old is NULL if it is new, enabled says of each '
  'job type whether it will take jobs.';
