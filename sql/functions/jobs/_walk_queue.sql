-- One walk through the priorities, from the mark on or from the very start (is_whole). What lies
-- between marked priorities is always read, so a job of a new priority is not overlooked; while
-- looks from the start are dear, only what became due since the last walk to the end is read there:
-- a priority whose jobs are all gone is not seen by anybody, only walked over. The loop ends with
-- the priorities that have pending jobs; when many of them are barren, only those that the types at
-- hand have.
create or replace function runledger._walk_queue(
  mark runledger._mark, job_types text[], max_jobs integer, is_whole boolean, slack interval,
  now timestamptz)
returns runledger._walk
language plpgsql volatile
as $$
declare
  v_mark constant runledger._mark := _walk_queue.mark;
  v_lane constant text := case when cardinality(_walk_queue.job_types) = 1
                               then _walk_queue.job_types[1] end;
  v_after constant timestamptz := case when _walk_queue.is_whole then '-infinity'
    else coalesce(v_mark.swept_at - _walk_queue.slack, '-infinity') end;
  v_began constant timestamptz := runledger._now();
  v_walked constant bigint := case when _walk_queue.is_whole then runledger._entries_walked() end;
  v_left runledger._mark := v_mark;
  v_all runledger._pick := row('{}', '{}', '{}', '{}');
  v_one runledger._pick;
  v_below bigint := 2147483648;
  v_barren integer := 0;
  v_next integer;
  v_nth integer := 1;
  v_marked boolean;
  v_at timestamptz;
  v_id uuid;
begin
  v_left.swept_at := case when _walk_queue.is_whole then '-infinity' else v_mark.swept_at end;
  v_left.priorities := '{}';
  v_left.due_ats := '{}';
  v_left.ids := '{}';
  loop
    v_next := runledger._next_walked(_walk_queue.job_types, v_lane, v_barren >= 16, v_below,
      v_mark.priorities[v_nth], v_after);
    exit when v_next is null;
    v_marked := v_next is not distinct from v_mark.priorities[v_nth];
    v_at := v_after;
    v_id := '00000000-0000-0000-0000-000000000000';
    if v_marked and not _walk_queue.is_whole then
      v_at := v_mark.due_ats[v_nth];
      v_id := v_mark.ids[v_nth];
    end if;
    v_one := runledger._lock_ready(_walk_queue.job_types, v_next, v_at - _walk_queue.slack, v_id,
      _walk_queue.max_jobs - cardinality(v_all.ids), _walk_queue.now);
    if v_one.ids is not null then
      v_all := row(v_all.priorities || v_one.priorities, v_all.due_ats || v_one.due_ats,
                   v_all.ids || v_one.ids, v_all.places || v_one.places)::runledger._pick;
    end if;
    v_barren := v_barren + (v_one.ids is null)::integer;
    v_left := runledger._move_mark(v_left, v_next, v_one, v_at, v_id);
    v_below := v_next;
    v_nth := v_nth + v_marked::integer;
    exit when cardinality(v_all.ids) >= _walk_queue.max_jobs;
  end loop;
  if _walk_queue.is_whole then
    v_left := runledger._time_mark(v_left, v_walked, v_began, _walk_queue.now);
  end if;
  return row(v_all, runledger._close_mark(v_left, v_mark, v_nth,
    cardinality(v_all.ids) >= _walk_queue.max_jobs, _walk_queue.now))::runledger._walk;
end
$$;

comment on function runledger._walk_queue(
  runledger._mark, text[], integer, boolean, interval, timestamptz) is
  'Lock up to max_jobs ready jobs of these types behind a mark, and say where that ended.';
