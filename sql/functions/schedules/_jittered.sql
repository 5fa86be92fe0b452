-- Jitter ends before the next instant: so fires keep the order of their instants, and no two
-- coincide.
create or replace function runledger._jittered(
  schedule runledger.job_schedules, cron runledger._cron, base_at timestamptz)
returns runledger._fire
language plpgsql stable
as $$
declare
  v_most integer := (_jittered.schedule).max_jitter_seconds;
begin
  if v_most > 0 then
    v_most := least(v_most, extract(epoch from runledger._next_fire(_jittered.cron,
      (_jittered.schedule).timezone, _jittered.base_at) - _jittered.base_at) - 1);
  end if;
  return row(_jittered.base_at, _jittered.base_at + make_interval(secs => runledger._jitter(
    (_jittered.schedule).id, _jittered.base_at, v_most)))::runledger._fire;
end
$$;

comment on function runledger._jittered(
  runledger.job_schedules, runledger._cron, timestamptz) is
  'The fire that belongs to a cron instant of a schedule.';
