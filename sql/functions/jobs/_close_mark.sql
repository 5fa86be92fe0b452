-- A walk that was not filled went to the end: while looks from the start are dear, nothing before
-- it needs to be met again, but for what commits a little late. Below where a filled walk ended,
-- what the mark before had from its nth priority on still holds.
create or replace function runledger._close_mark(
  mark runledger._mark, before runledger._mark, nth integer, is_filled boolean, now timestamptz)
returns runledger._mark
language plpgsql stable
as $$
declare
  v_mark runledger._mark := _close_mark.mark;
  v_before constant runledger._mark := _close_mark.before;
  v_end constant timestamptz := _close_mark.now - interval '100 ms';
begin
  if v_mark.look_took > '0' and not _close_mark.is_filled then
    v_mark.due_ats := array(select greatest(d.at, v_end)
                              from unnest(v_mark.due_ats) with ordinality as d(at, nth)
                             order by d.nth);
    v_mark.swept_at := case when v_mark.swept_at is not null then v_end end;
  end if;
  v_mark.priorities := v_mark.priorities || v_before.priorities[_close_mark.nth:];
  v_mark.due_ats := v_mark.due_ats || v_before.due_ats[_close_mark.nth:];
  v_mark.ids := v_mark.ids || v_before.ids[_close_mark.nth:];
  v_mark.swept_at := coalesce(v_mark.swept_at, '-infinity');
  return v_mark;
end
$$;

comment on function runledger._close_mark(
  runledger._mark, runledger._mark, integer, boolean, timestamptz) is
  'The mark at the end of a walk.';
