-- Pick expired leases without locks, oldest expiry first; then lock their runs and then the jobs,
-- both in order and skipping what others hold, and look again: a job may have been renewed
-- meanwhile.
create or replace function runledger._lock_expired(max_jobs integer, now timestamptz)
returns uuid[]
language plpgsql volatile
as $$
declare
  v_ids uuid[] := array(
    select q.id from runledger.job_queue as q
     where q.lease_token is not null and q.lease_expires_at < _lock_expired.now
     order by q.lease_expires_at, q.id
     limit _lock_expired.max_jobs);
  v_runs uuid[] := runledger._lock_runs(v_ids, true);
begin
  v_ids := array(
    select q.id from runledger.job_queue as q
     where q.id = any (v_ids) and q.lease_token is not null
       and q.lease_expires_at < _lock_expired.now
       and (q.workflow_run_id is null or q.workflow_run_id = any (v_runs))
     order by q.id
       for update skip locked);
  return array(
    select q.id from runledger.job_queue as q
     where q.id = any (v_ids) order by q.lease_expires_at, q.id);
end
$$;

comment on function runledger._lock_expired(integer, timestamptz) is
  'Lock expired leases and their runs; the ids of the jobs, oldest expiry first.';
