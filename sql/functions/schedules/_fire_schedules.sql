-- Fire locked schedules in order, until so many jobs or steps are started that a transaction
-- should not hold more. Every call fires at least one.
create or replace function runledger._fire_schedules(
  schedules runledger.job_schedules[], now timestamptz)
returns setof runledger.fired_schedule
language plpgsql volatile
as $$
declare
  v_room bigint := runledger._limit('fired_jobs');
  v_each bigint;
  v_count bigint;
  v_schedule runledger.job_schedules;
begin
  foreach v_schedule in array _fire_schedules.schedules loop
    v_each := greatest(1, coalesce(jsonb_array_length(v_schedule.workflow_steps), 0));
    return query
    select f.* from runledger._fire_schedule(
      v_schedule, greatest(1, v_room / v_each), _fire_schedules.now) as f;
    get diagnostics v_count = row_count;
    v_room := v_room - v_each * v_count;
    exit when v_room <= 0;
  end loop;
end
$$;

comment on function runledger._fire_schedules(runledger.job_schedules[], timestamptz) is
  'Fire locked schedules that are due, within the limit fired_jobs.';
