create or replace function runledger._first_fire(
  schedule runledger.job_schedules, asked_for timestamptz, now timestamptz)
returns runledger._fire
language plpgsql stable
as $$
declare
  v_schedule constant runledger.job_schedules := _first_fire.schedule;
  v_cron constant runledger._cron := runledger._parse_cron(v_schedule.cron_expr);
begin
  if _first_fire.asked_for is not null then
    return row(_first_fire.asked_for, _first_fire.asked_for)::runledger._fire;
  end if;
  return runledger._jittered(v_schedule, v_cron,
    runledger._next_fire(v_cron, v_schedule.timezone, _first_fire.now));
end
$$;

comment on function runledger._first_fire(runledger.job_schedules, timestamptz, timestamptz) is
  'The cursor of a schedule that is new or has another expression: the instant asked for, else the '
  'first fire from now.';
