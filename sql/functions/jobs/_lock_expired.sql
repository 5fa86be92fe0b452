-- Pick expired leases without locks, oldest expiry first; then lock their runs and then the jobs,
-- skipping what others hold, and look again: a job may have been renewed meanwhile. When too many
-- of the oldest are held (a backend that hangs in the middle of a batch holds them all), look
-- further behind them, or nobody's lease would ever be ended again.
create or replace function runledger._lock_expired(max_jobs integer, now timestamptz)
returns uuid[]
language plpgsql volatile
as $$
declare
  v_depth integer := _lock_expired.max_jobs;
  v_ids uuid[];
  v_runs uuid[];
  v_held uuid[];
begin
  for v_round in 1..5 loop
    v_ids := array(
      select q.id from runledger.job_queue as q
       where q.lease_token is not null and q.lease_expires_at < _lock_expired.now
       order by q.lease_expires_at, q.id
       limit v_depth);
    v_runs := runledger._lock_runs(v_ids, true);
    v_held := array(
      select q.id from runledger.job_queue as q
       where q.id = any (v_ids) and q.lease_expires_at < _lock_expired.now
         and (q.workflow_run_id is null or q.workflow_run_id = any (v_runs))
       order by q.lease_expires_at, q.id
       limit _lock_expired.max_jobs
         for update skip locked);
    exit when cardinality(v_held) = _lock_expired.max_jobs or cardinality(v_ids) < v_depth;
    v_depth := v_depth * 4;
  end loop;
  return array(
    select q.id from runledger.job_queue as q
     where q.id = any (v_held) order by q.lease_expires_at, q.id);
end
$$;

comment on function runledger._lock_expired(integer, timestamptz) is
  'Lock expired leases and their runs; the ids of the jobs, oldest expiry first.';
