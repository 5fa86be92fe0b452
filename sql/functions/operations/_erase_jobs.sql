-- Children before parents, since no foreign key would see to it; as many jobs, in the given order,
-- as fit into max_rows with all their rows (more_each: rows the caller will delete with each). One
-- job goes even if it alone does not fit, but the attempts of its earlier runs go before it in
-- pieces. The replay a job is goes with it; replays made of it stay. Events are left to the end of
-- their day: how young they may be is remembered, so that fsck knows them from orphans.
create or replace function runledger._erase_jobs(
  job_ids uuid[], horizon timestamptz, caller text, max_rows bigint, more_each integer)
returns runledger._erasure
language plpgsql volatile
as $$
declare
  v_ids uuid[];
  v_rows bigint;
  v_newest timestamptz;
begin
  if cardinality(_erase_jobs.job_ids) = 0 then
    return row('{}'::uuid[], 0, false)::runledger._erasure;
  end if;
  with counted as (
    select j.id, j.nth, sum(1 + _erase_jobs.more_each
             + (select count(*) from runledger.job_attempts as a where a.job_id = j.id)
             + (select count(*) from runledger.job_dead_letters as d where d.job_id = j.id)
             + (select count(*) from runledger.job_replays as r where r.replay_job_id = j.id)
           ) over (order by j.nth) as total
      from unnest(_erase_jobs.job_ids) with ordinality as j(id, nth)
  )
  select array_agg(c.id order by c.nth), max(c.total) into v_ids, v_rows
    from counted as c where c.total <= _erase_jobs.max_rows or c.nth = 1;
  if v_rows > _erase_jobs.max_rows then
    with doomed as materialized (
      select a.job_id, a.run_number, a.attempt
        from runledger.job_queue as q
        join runledger.job_attempts as a on a.job_id = q.id and a.run_number < q.run_number
       where q.id = v_ids[1]
       order by a.run_number, a.attempt limit _erase_jobs.max_rows
    )
    delete from runledger.job_attempts as a using doomed as d
     where a.job_id = d.job_id and a.run_number = d.run_number and a.attempt = d.attempt;
    get diagnostics v_rows = row_count;
    if v_rows > 0 then
      return row('{}'::uuid[], v_rows, true)::runledger._erasure;
    end if;
  end if;
  delete from runledger.job_attempts as a where a.job_id = any (v_ids);
  get diagnostics v_rows = row_count;
  with letters as (
    delete from runledger.job_dead_letters as d where d.job_id = any (v_ids) returning d.job_id
  ), replays as (
    delete from runledger.job_replays as r where r.replay_job_id = any (v_ids)
    returning r.replay_job_id
  )
  select v_rows + (select count(*) from letters) + (select count(*) from replays) into v_rows;
  with jobs as (
    delete from runledger.job_queue as q where q.id = any (v_ids) returning q.updated_at
  )
  select v_rows + count(*), max(j.updated_at) into v_rows, v_newest from jobs as j;
  update runledger.prune_passes as p
     set orphans_end_at = greatest(p.orphans_end_at, _erase_jobs.horizon,
           v_newest + interval '1 second')
   where p.caller = _erase_jobs.caller;
  return row(v_ids, v_rows, cardinality(v_ids) < cardinality(_erase_jobs.job_ids))
    ::runledger._erasure;
end
$$;

comment on function runledger._erase_jobs(uuid[], timestamptz, text, bigint, integer) is
  'Delete these jobs, which the caller has locked, with their attempts, dead letters and replays.';
