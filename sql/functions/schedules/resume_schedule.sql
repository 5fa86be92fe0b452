-- Let a schedule fire again, from where it stands or from an instant.
--
-- Locks:  the schedule row, then the definitions of its job types (shared).
-- Writes: job_schedules, operator_actions; nothing when it is active and no instant is given.
-- Raises: RL001 job_schedule.not_found, RL002 job_schedule.definition_not_found_or_disabled,
--         RL010 job_schedule.invalid_instant.
create or replace function runledger.resume_schedule(
  name text, next_fire_at timestamptz default null)
returns runledger.schedule_change
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_at constant timestamptz := resume_schedule.next_fire_at;
  v_schedule runledger.job_schedules;
begin
  if not (v_at >= '1970-01-01 00:00Z' and v_at <= runledger._horizon(v_now)) then
    perform runledger._raise('job_schedule.invalid_instant');
  end if;
  v_schedule := runledger._lock_schedule(resume_schedule.name);
  if v_schedule.is_active and v_at is null then
    return row(v_schedule.name, 'UNCHANGED', v_schedule.next_fire_at,
      true)::runledger.schedule_change;
  end if;
  perform runledger._require_schedule_types(
    v_schedule.job_type, v_schedule.workflow_steps, true);
  update runledger.job_schedules as s
     set is_active = true, paused_at = null, paused_by = null, paused_reason = null,
         next_fire_at = coalesce(v_at, s.next_fire_at),
         next_base_at = coalesce(v_at, s.next_base_at),
         deferred_at = null, deferred_until = null, deferred_code = null, updated_at = v_now
   where s.id = v_schedule.id;
  perform runledger._record_action('resume_schedule', v_schedule.name, null,
    jsonb_strip_nulls(jsonb_build_object('next_fire_at', v_at)));
  return row(v_schedule.name, 'RESUMED', coalesce(v_at, v_schedule.next_fire_at),
    true)::runledger.schedule_change;
end
$$;

comment on function runledger.resume_schedule(text, timestamptz) is
  'Let this schedule fire again. What it missed meanwhile is dealt with as missed says; '
  'next_fire_at moves it to another instant instead, also backwards, also while it is active. An '
  'instant that has fired does not fire again.';
