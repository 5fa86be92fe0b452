-- Delete a schedule. Jobs and runs that it started stay, with its id.
--
-- Locks:  the schedule row.
-- Writes: job_schedules, operator_actions.
-- Raises: RL001 job_schedule.not_found.
create or replace function runledger.delete_schedule(name text)
returns runledger.schedule_change
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_schedule runledger.job_schedules;
begin
  v_schedule := runledger._lock_schedule(delete_schedule.name);
  delete from runledger.job_schedules as s where s.id = v_schedule.id;
  perform runledger._record_action('delete_schedule', v_schedule.name);
  return row(v_schedule.name, 'DELETED', v_schedule.next_fire_at,
    false)::runledger.schedule_change;
end
$$;

comment on function runledger.delete_schedule(text) is
  'Delete a schedule; what it has started stays. pause_schedule keeps it for later.';
