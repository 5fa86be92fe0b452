create or replace function runledger._lock_schedule(name text)
returns runledger.job_schedules
language plpgsql volatile
as $$
declare
  v_schedule runledger.job_schedules;
begin
  select s.* into v_schedule from runledger.job_schedules as s
   where s.name = _lock_schedule.name for no key update;
  if not found then
    perform runledger._raise('job_schedule.not_found',
      jsonb_build_object('name', left(_lock_schedule.name, 200)));
  end if;
  return v_schedule;
end
$$;

comment on function runledger._lock_schedule(text) is
  'A schedule by name, locked; raises job_schedule.not_found.';
