-- What a look from the start took: nothing if it walked over few entries, however busy the machine
-- is. Without statistics of accesses (track_counts), which count nothing then, there is but the
-- clock.
create or replace function runledger._time_mark(
  mark runledger._mark, walked bigint, began timestamptz, now timestamptz)
returns runledger._mark
language plpgsql volatile
as $$
declare
  v_mark runledger._mark := _time_mark.mark;
  v_took constant interval := greatest(runledger._now() - _time_mark.began, '1 us');
begin
  v_mark.looked_at := _time_mark.now;
  v_mark.look_took := case
    when runledger._entries_walked() - _time_mark.walked < runledger._limit('cheap_look')
      and (v_took < '25 ms' or current_setting('track_counts')::boolean)
    then '0' else v_took end;
  return v_mark;
end
$$;

comment on function runledger._time_mark(runledger._mark, bigint, timestamptz, timestamptz) is
  'The mark after a look from the start.';
