create or replace function runledger._clock_change(
  since timestamp, until timestamp, timezone text)
returns timestamp
language plpgsql stable parallel safe
as $$
declare
  v_offset constant interval :=
    runledger._local_time(_clock_change.since, _clock_change.timezone) - _clock_change.since;
  v_low bigint := 0;
  v_high bigint := ceil(extract(epoch from _clock_change.until - _clock_change.since));
  v_middle bigint;
  v_at timestamp;
begin
  while v_high - v_low > 1 loop
    v_middle := (v_low + v_high) / 2;
    v_at := _clock_change.since + make_interval(secs => v_middle);
    if runledger._local_time(v_at, _clock_change.timezone) - v_at = v_offset then
      v_low := v_middle;
    else
      v_high := v_middle;
    end if;
  end loop;
  return _clock_change.since + make_interval(secs => v_high);
end
$$;

comment on function runledger._clock_change(timestamp, timestamp, text) is
  'The first second after since with another offset, given that until has another one.';
