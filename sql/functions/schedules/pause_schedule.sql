-- Fire a schedule no more until resume_schedule. Jobs that it has started are not touched.
--
-- Locks:  the schedule row.
-- Writes: job_schedules, operator_actions; nothing when it is so already.
-- Raises: RL001 job_schedule.not_found, RL010 job.invalid_reason.
create or replace function runledger.pause_schedule(name text, reason text default null)
returns runledger.schedule_change
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_schedule runledger.job_schedules;
  v_pauses boolean;
begin
  perform runledger._check_reason(pause_schedule.reason, false);
  v_schedule := runledger._lock_schedule(pause_schedule.name);
  -- A pause by sync_catalog ends when the schedule is listed again; this one does not.
  v_pauses := v_schedule.is_active or coalesce(v_schedule.paused_at = v_schedule.absent_at, false);
  if v_pauses then
    update runledger.job_schedules as s
       set is_active = false, paused_at = v_now, paused_by = runledger._caller(),
           paused_reason = pause_schedule.reason, updated_at = v_now
     where s.id = v_schedule.id;
    perform runledger._record_action('pause_schedule', v_schedule.name, pause_schedule.reason);
  end if;
  return row(v_schedule.name, case when v_pauses then 'PAUSED' else 'UNCHANGED' end,
    v_schedule.next_fire_at, false)::runledger.schedule_change;
end
$$;

comment on function runledger.pause_schedule(text, text) is
  'Fire this schedule no more until resume_schedule; remembers who, when and why.';
