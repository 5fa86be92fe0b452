create or replace function runledger._clock_note(at timestamptz, timezone text)
returns text
language plpgsql stable parallel safe
as $$
declare
  v_zone constant text := _clock_note.timezone;
  v_day constant interval := interval '24 hours';
  v_utc constant timestamp := date_trunc('second', _clock_note.at at time zone 'UTC');
  v_local constant timestamp := runledger._local_time(v_utc, v_zone);
  v_offset constant interval := v_local - v_utc;
  v_before constant interval := runledger._local_time(v_utc - v_day, v_zone) - (v_utc - v_day);
  v_after constant interval := runledger._local_time(v_utc + v_day, v_zone) - (v_utc + v_day);
begin
  if v_before < v_offset
    and runledger._clock_change(v_utc - v_day, v_utc, v_zone) = v_utc then
    return 'first instant after skipped local times';
  elsif v_before > v_offset
    and v_local < runledger._clock_change(v_utc - v_day, v_utc, v_zone) + v_before then
    return 'repeated local time, second pass';
  elsif v_after < v_offset
    and v_local >= runledger._clock_change(v_utc, v_utc + v_day, v_zone) + v_after then
    return 'repeated local time, first pass';
  end if;
  return null;
end
$$;

comment on function runledger._clock_note(timestamptz, text) is
  'What a change of the clocks has to do with an instant in a zone, or NULL.';
