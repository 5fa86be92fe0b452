-- Lock what a claim will take: paused types are left out, types with a limit give at most their
-- free slots, in type order. Jobs that were locked but lost the merge stay pending and are free
-- again at commit; the mark must not have moved past them.
create or replace function runledger._pick_jobs(
  job_types text[], max_jobs integer, now timestamptz)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_open text[];
  v_limited text[];
  v_limits integer[];
  v_slots integer;
  v_pick runledger._pick;
  v_all runledger._pick := row('{}', '{}', '{}', '{}');
  v_unlimited runledger._pick;
  v_taken integer;
begin
  select array_agg(d.job_type order by d.job_type) filter (where d.max_concurrency is null),
         array_agg(d.job_type order by d.job_type) filter (where d.max_concurrency is not null),
         array_agg(d.max_concurrency order by d.job_type)
           filter (where d.max_concurrency is not null)
    into v_open, v_limited, v_limits
    from runledger.job_definitions as d
   where d.job_type = any (_pick_jobs.job_types) and not d.is_paused;
  if v_open is not null then
    v_all := runledger._pick_ready(v_open, _pick_jobs.max_jobs, _pick_jobs.now, true);
  end if;
  if v_limited is null then
    return v_all;
  end if;
  v_unlimited := v_all;
  for v_nth in 1..cardinality(v_limited) loop
    v_slots := least(_pick_jobs.max_jobs,
      runledger._free_slots(v_limited[v_nth], v_limits[v_nth], _pick_jobs.now));
    continue when v_slots = 0;
    v_pick := runledger._pick_ready(array[v_limited[v_nth]], v_slots, _pick_jobs.now,
      v_open is null and cardinality(v_limited) = 1);
    v_all := row(v_all.priorities || v_pick.priorities, v_all.due_ats || v_pick.due_ats,
                 v_all.ids || v_pick.ids, v_all.places || v_pick.places)::runledger._pick;
  end loop;
  with picked as materialized (
    select p.*
      from unnest(v_all.priorities, v_all.due_ats, v_all.ids, v_all.places)
           as p(priority, due_at, id, place)
     order by p.priority desc, p.due_at, p.id
     limit _pick_jobs.max_jobs
  )
  select coalesce(array_agg(p.priority), '{}'), coalesce(array_agg(p.due_at), '{}'),
         coalesce(array_agg(p.id), '{}'), coalesce(array_agg(p.place), '{}') into v_all
    from picked as p;
  v_taken := cardinality(array(select unnest(v_unlimited.ids) intersect select unnest(v_all.ids)));
  if v_taken < cardinality(v_unlimited.ids) then
    perform runledger._set_back_mark(v_open, v_unlimited, v_taken, _pick_jobs.now);
  end if;
  return v_all;
end
$$;

comment on function runledger._pick_jobs(text[], integer, timestamptz) is
  'Lock up to max_jobs claimable jobs of these types, in claim order.';
