-- The runs of jobs, locked first and in order: the row of a run is its mutex. workflow_run_id of a
-- job never changes, so it is read without a lock. skip: leave out what others hold, and say which
-- are held now; else wait.
create or replace function runledger._lock_runs(job_ids uuid[], skip boolean)
returns uuid[]
language plpgsql volatile
as $$
declare
  v_ids uuid[] := array(
    select distinct q.workflow_run_id from runledger.job_queue as q
     where q.id = any (_lock_runs.job_ids) and q.workflow_run_id is not null);
begin
  if cardinality(v_ids) = 0 then
    return v_ids;
  elsif _lock_runs.skip then
    return array(
      select r.id from runledger.workflow_runs as r
       where r.id = any (v_ids) order by r.id for no key update skip locked);
  end if;
  perform from runledger.workflow_runs as r
    where r.id = any (v_ids) order by r.id for no key update;
  return v_ids;
end
$$;

comment on function runledger._lock_runs(uuid[], boolean) is
  'Lock the runs of these jobs in order; returns the ids that are held.';
