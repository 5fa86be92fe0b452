-- The first fire after an instant. With a star in minute or hour: each instant whose local time
-- matches. Else: for each matching local time the first instant at which the clocks, as far as they
-- ever got, reach it; so a skipped time fires at the end of the gap, a repeated one on its first
-- pass, and each once. Works from one change of the clocks to the next, but leaps over what lies
-- between tomorrow and two days before a far fire: nothing matches there, whatever the clocks do.
create or replace function runledger._next_fire(
  cron runledger._cron, timezone text, after timestamptz)
returns timestamptz
language plpgsql stable parallel safe
as $$
declare
  v_zone constant text := _next_fire.timezone;
  v_day constant interval := interval '24 hours';
  v_utc timestamp := date_trunc('second', _next_fire.after at time zone 'UTC');
  v_local timestamp := runledger._local_time(v_utc, v_zone);
  v_floor timestamp := v_local;
  v_before interval;
  v_next timestamp;
  v_fire timestamp;
  v_look timestamp;
begin
  if not (_next_fire.cron).follows_real_time then
    v_before := runledger._local_time(v_utc - v_day, v_zone) - (v_utc - v_day);
    if v_before > v_local - v_utc then
      v_floor := greatest(v_local,
        runledger._clock_change(v_utc - v_day, v_utc, v_zone) + v_before - interval '1 second');
    end if;
    v_next := runledger._next_cron_local(_next_fire.cron, v_floor + interval '1 second');
  end if;
  v_utc := v_utc + interval '1 second';
  for v_round in 1..1000 loop
    v_local := runledger._local_time(v_utc, v_zone);
    if (_next_fire.cron).follows_real_time then
      v_next := runledger._next_cron_local(_next_fire.cron, v_local);
    end if;
    exit when v_next is null;
    v_fire := v_utc + greatest(v_next - v_local, '0');
    v_look := least(v_fire, v_utc + v_day);
    if runledger._local_time(v_look, v_zone) - v_look <> v_local - v_utc then
      v_utc := runledger._clock_change(v_utc, v_look, v_zone);
    elsif v_look = v_fire then
      return v_fire at time zone 'UTC';
    else
      v_utc := greatest(v_look, v_fire - 2 * v_day);
    end if;
  end loop;
  perform runledger._raise('job_schedule.cron_never_fires');
end
$$;

comment on function runledger._next_fire(runledger._cron, text, timestamptz) is
  'The first instant after one at which a parsed cron expression fires in a zone.';
