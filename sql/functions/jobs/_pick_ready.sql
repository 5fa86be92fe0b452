-- Lock up to max_jobs ready jobs of these types: priority by priority, oldest due first. Starts
-- behind the mark of this session; what lies between marked priorities is always read, so a job of
-- a new priority is never overlooked. If the marks yield nothing, the index is read from its start
-- in the same call, unless that took long of late. If they yield less than wanted, it is read from
-- a little before them, where a job stands that was committed late: a queue that keeps up with its
-- work yields less at every claim, and under a held snapshot each would walk over all that was
-- claimed since. The loops end
-- with the priorities that have pending jobs; when many of them are barren, only those that the
-- types at hand have.
create or replace function runledger._pick_ready(
  job_types text[], max_jobs integer, now timestamptz)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_scope constant text := md5(array_to_string(_pick_ready.job_types, ','));
  v_lane constant text := case when cardinality(_pick_ready.job_types) = 1
                               then _pick_ready.job_types[1] end;
  v_mark runledger._mark := runledger._load_mark(v_scope, _pick_ready.now);
  v_left runledger._mark;
  v_all runledger._pick;
  v_one runledger._pick;
  v_slack interval := '0';
  v_began timestamptz;
  v_below bigint;
  v_above bigint;
  v_barren integer := 0;
  v_next integer;
  v_nth integer;
  v_marked boolean;
begin
  loop
    v_all := row('{}', '{}', '{}', '{}')::runledger._pick;
    v_left := row(v_scope, coalesce(v_mark.looked_at, _pick_ready.now), null, '{}', '{}', '{}');
    v_began := runledger._now();
    v_below := 2147483648;
    v_nth := 1;
    loop
      v_above := coalesce(v_mark.priorities[v_nth], -2147483649);
      v_next := coalesce(case when v_barren < 16
          then runledger._next_priority(v_lane, v_below, v_above)
          else runledger._next_lane(_pick_ready.job_types, v_below, v_above) end,
        v_mark.priorities[v_nth]);
      exit when v_next is null;
      v_marked := v_next is not distinct from v_mark.priorities[v_nth];
      v_one := runledger._lock_ready(_pick_ready.job_types, v_next,
        case when v_marked then v_mark.due_ats[v_nth] - v_slack else '-infinity' end,
        case when v_marked then v_mark.ids[v_nth] else '00000000-0000-0000-0000-000000000000' end,
        _pick_ready.max_jobs - cardinality(v_all.ids), _pick_ready.now);
      if v_one.ids is not null then
        v_all := row(v_all.priorities || v_one.priorities, v_all.due_ats || v_one.due_ats,
                     v_all.ids || v_one.ids, v_all.places || v_one.places)::runledger._pick;
      end if;
      v_barren := v_barren + (v_one.ids is null)::integer;
      v_left := runledger._move_mark(v_left, v_next,
        coalesce(v_one.due_ats[cardinality(v_one.ids)],
          case when v_marked then v_mark.due_ats[v_nth] end),
        coalesce(v_one.ids[cardinality(v_one.ids)], case when v_marked then v_mark.ids[v_nth] end));
      v_below := v_next;
      v_nth := v_nth + v_marked::integer;
      exit when cardinality(v_all.ids) >= _pick_ready.max_jobs;
    end loop;
    v_left.look_took := coalesce(v_mark.look_took, runledger._now() - v_began);
    exit when cardinality(v_all.ids) >= _pick_ready.max_jobs or v_mark.scope is null
      or v_slack > '0';
    if cardinality(v_all.ids) = 0 and (v_mark.look_took < '25 ms'
      or v_mark.looked_at < _pick_ready.now - v_mark.look_took * 20) then
      v_mark := null;
    end if;
    v_slack := '100 ms';
  end loop;
  perform runledger._save_mark(v_left, v_mark, v_nth);
  return v_all;
end
$$;

comment on function runledger._pick_ready(text[], integer, timestamptz) is
  'Lock up to max_jobs ready jobs of these types in claim order.';
