create or replace function runledger._update_schedule(
  old runledger.job_schedules, new runledger.job_schedules, now timestamptz)
returns runledger.schedule_change
language plpgsql volatile
as $$
declare
  v_old constant runledger.job_schedules := _update_schedule.old;
  v_new runledger.job_schedules := _update_schedule.new;
  -- Not to be recorded: what may hold data, and what this call does not set.
  v_unsaid constant text[] := '{payload_template,workflow_steps,organization_id,created_at,'
    'updated_at,due_at,last_fired_at,paused_at,paused_by,paused_reason,deferred_at,deferred_until,'
    'deferred_code,catalog,absent_at}';
begin
  if v_old.cron_expr = v_new.cron_expr and v_old.timezone = v_new.timezone then
    v_new.next_fire_at := v_old.next_fire_at;
    v_new.next_base_at := v_old.next_base_at;
  end if;
  if (v_old.job_type, v_old.workflow_type, v_old.workflow_steps, v_old.payload_template,
      v_old.cron_expr, v_old.timezone, v_old.missed, v_old.max_jitter_seconds, v_old.is_active)
    is not distinct from
     (v_new.job_type, v_new.workflow_type, v_new.workflow_steps, v_new.payload_template,
      v_new.cron_expr, v_new.timezone, v_new.missed, v_new.max_jitter_seconds, v_new.is_active)
  then
    return row(v_old.name, 'UNCHANGED', v_old.next_fire_at,
      v_old.is_active)::runledger.schedule_change;
  end if;
  update runledger.job_schedules as s
     set job_type = v_new.job_type, workflow_type = v_new.workflow_type,
         workflow_steps = v_new.workflow_steps, payload_template = v_new.payload_template,
         cron_expr = v_new.cron_expr, timezone = v_new.timezone, missed = v_new.missed,
         max_jitter_seconds = v_new.max_jitter_seconds, is_active = v_new.is_active,
         next_fire_at = v_new.next_fire_at, next_base_at = v_new.next_base_at,
         paused_at = case when not v_new.is_active then s.paused_at end,
         paused_by = case when not v_new.is_active then s.paused_by end,
         paused_reason = case when not v_new.is_active then s.paused_reason end,
         deferred_at = null, deferred_until = null, deferred_code = null,
         updated_at = _update_schedule.now
   where s.id = v_old.id;
  perform runledger._record_action('upsert_schedule', v_old.name, null,
    runledger._changed(to_jsonb(v_old) - v_unsaid, to_jsonb(v_new) - v_unsaid));
  return row(v_old.name, 'UPDATED', v_new.next_fire_at,
    v_new.is_active)::runledger.schedule_change;
end
$$;

comment on function runledger._update_schedule(
  runledger.job_schedules, runledger.job_schedules, timestamptz) is
  'Change a locked schedule to new settings, unless they are the old ones.';
