-- The primary key is walked in the order of creation, a bounded number of ids a call, up to where
-- nothing can be old enough: no index stands on finished_at, since each claim and finish would pay
-- for it. An hour is added because ids and created_at are read from the clock one after the other.
-- Jobs of workflows go with their run.
create or replace function runledger._prune_jobs(caller text, max_rows bigint, now timestamptz)
returns bigint
language plpgsql volatile
as $$
declare
  v_looks constant bigint := runledger._limit('prune_looks');
  v_jobs timestamptz;
  v_dead timestamptz;
  v_after uuid;
  v_last uuid;
  v_seen bigint;
  v_ids uuid[];
  v_erased runledger._erasure;
begin
  select p.after_job_id, runledger._prune_horizon(p.older_than, _prune_jobs.now),
         runledger._prune_horizon(p.dead_letters_older_than, _prune_jobs.now)
    into v_after, v_jobs, v_dead
    from runledger.prune_passes as p where p.caller = _prune_jobs.caller;
  if v_after is null or _prune_jobs.max_rows <= 0 then
    return 0;
  end if;
  with looked as materialized (
    select q.id, q.workflow_run_id is null
             and runledger._is_prunable(q, v_jobs, v_dead, _prune_jobs.now) as is_old
      from runledger.job_queue as q
     where q.id > v_after
       and q.id < runledger._uuid_floor(greatest(v_jobs, v_dead) + interval '1 hour')
     order by q.id limit v_looks
  )
  select array_agg(l.id order by l.id) filter (where l.is_old), count(*),
         (array_agg(l.id order by l.id desc))[1]
    into v_ids, v_seen, v_last
    from looked as l;
  v_ids := array(
    select q.id from runledger.job_queue as q
     where q.id = any (v_ids) and runledger._is_prunable(q, v_jobs, v_dead, _prune_jobs.now)
     order by q.id limit _prune_jobs.max_rows
       for update skip locked);
  v_erased := runledger._erase_jobs(v_ids, v_jobs, _prune_jobs.caller, _prune_jobs.max_rows, 0);
  update runledger.prune_passes as p
     set after_job_id = case
           when v_erased.is_cut or v_erased.affected >= _prune_jobs.max_rows
             then coalesce(v_erased.job_ids[cardinality(v_erased.job_ids)], p.after_job_id)
           when v_seen = v_looks then v_last end
   where p.caller = _prune_jobs.caller;
  return v_erased.affected;
end
$$;

comment on function runledger._prune_jobs(text, bigint, timestamptz) is
  'Look at the next jobs of a pass and delete those that are old enough; returns how many rows '
  'went.';
