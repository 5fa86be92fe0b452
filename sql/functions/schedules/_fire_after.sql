-- The first fire behind the cursor of a schedule that is later than an instant. Usually that is
-- just the next one. After downtime it is the last instant before, if its jitter reaches past, or
-- the first one after; the last one before is found by halving, since cron only looks forward.
create or replace function runledger._fire_after(
  schedule runledger.job_schedules, cron runledger._cron, after timestamptz)
returns runledger._fire
language plpgsql stable
as $$
declare
  v_zone constant text := (_fire_after.schedule).timezone;
  v_fire runledger._fire;
  v_low integer := (_fire_after.schedule).max_jitter_seconds;
  v_high integer := 0;
  v_middle integer;
begin
  v_fire := runledger._jittered(_fire_after.schedule, _fire_after.cron,
    runledger._next_fire(_fire_after.cron, v_zone, (_fire_after.schedule).next_base_at));
  if v_fire.fire_at > _fire_after.after then
    return v_fire;
  end if;
  -- low: so many seconds before, the next instant is not after; high: so many, it is.
  if runledger._next_fire(_fire_after.cron, v_zone,
       _fire_after.after - make_interval(secs => v_low)) <= _fire_after.after then
    while v_low - v_high > 1 loop
      v_middle := (v_low + v_high) / 2;
      if runledger._next_fire(_fire_after.cron, v_zone,
           _fire_after.after - make_interval(secs => v_middle)) <= _fire_after.after then
        v_low := v_middle;
      else
        v_high := v_middle;
      end if;
    end loop;
    v_fire := runledger._jittered(_fire_after.schedule, _fire_after.cron,
      runledger._next_fire(_fire_after.cron, v_zone,
        _fire_after.after - make_interval(secs => v_low)));
    if v_fire.fire_at > _fire_after.after then
      return v_fire;
    end if;
  end if;
  return runledger._jittered(_fire_after.schedule, _fire_after.cron,
    runledger._next_fire(_fire_after.cron, v_zone, _fire_after.after));
end
$$;

comment on function runledger._fire_after(
  runledger.job_schedules, runledger._cron, timestamptz) is
  'The first fire of a schedule behind its cursor and later than an instant.';
