-- Lock up to max_jobs ready jobs of these types: priority by priority, oldest due first. Starts
-- behind the mark of this session. If that yields nothing, the index is read from its start in the
-- same call, unless that took long of late. If it yields less than wanted, it is read from a little
-- before the mark, where a job stands that was committed late: a queue that keeps up with its work
-- yields less at every claim, and under a held snapshot each would walk over all that was claimed
-- since. Who has several lots to claim remembers one of them (is_marked).
create or replace function runledger._pick_ready(
  job_types text[], max_jobs integer, now timestamptz, is_marked boolean)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_scope constant text := runledger._claim_scope(_pick_ready.job_types);
  v_mark runledger._mark := case when _pick_ready.is_marked
                                 then runledger._load_mark(v_scope, _pick_ready.now) end;
  v_whole boolean := v_mark.looked_at is null;
  v_slack interval := '0';
  v_walk runledger._walk;
  v_found integer;
begin
  loop
    v_walk := runledger._walk_queue(v_mark, _pick_ready.job_types, _pick_ready.max_jobs, v_whole,
      v_slack, _pick_ready.now);
    v_found := cardinality((v_walk.picked).ids);
    exit when v_found >= _pick_ready.max_jobs or v_whole or v_slack > '0';
    v_whole := v_found = 0 and (v_mark.look_took = '0'
      or v_mark.looked_at < _pick_ready.now - v_mark.look_took * 20);
    v_slack := '100 ms';
  end loop;
  if _pick_ready.is_marked then
    perform runledger._save_mark(v_scope, v_walk.mark);
  end if;
  return v_walk.picked;
end
$$;

comment on function runledger._pick_ready(text[], integer, timestamptz, boolean) is
  'Lock up to max_jobs ready jobs of these types in claim order.';
