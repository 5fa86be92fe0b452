create or replace function runledger._insert_schedule(
  schedule runledger.job_schedules, now timestamptz)
returns boolean
language plpgsql volatile
as $$
declare
  v_new constant runledger.job_schedules := _insert_schedule.schedule;
begin
  insert into runledger.job_schedules
    (id, name, job_type, workflow_type, workflow_steps, organization_id, payload_template,
     cron_expr, timezone, missed, max_jitter_seconds, is_active, next_fire_at, next_base_at,
     created_at, updated_at)
  values (v_new.id, v_new.name, v_new.job_type, v_new.workflow_type, v_new.workflow_steps,
    v_new.organization_id, v_new.payload_template, v_new.cron_expr, v_new.timezone, v_new.missed,
    v_new.max_jitter_seconds, v_new.is_active, v_new.next_fire_at, v_new.next_base_at,
    _insert_schedule.now, _insert_schedule.now)
  on conflict do nothing;
  return found;
end
$$;

comment on function runledger._insert_schedule(runledger.job_schedules, timestamptz) is
  'Insert a schedule whose job type exists; false if there is one of that name.';
