-- J1, J2: who holds a job and whether it is over. CHECK constraints hold most of it; they may have
-- been dropped, changed, or added NOT VALID. While they stand a fast look reads held jobs alone.
create or replace function runledger._fsck_jobs(
  everything boolean, workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_all constant boolean := _fsck_jobs.everything or not runledger._is_guarded('job_queue', array[
    'a_lease_has_worker_token_and_expiry']);
begin
  -- J1: a lease is whole, and only a leased job has a worker. A canceled job may keep token and
  -- expiry.
  return query
  select 'J1', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'has_worker', q.worker_id is not null, 'lease_token', q.lease_token,
           'lease_expires_at', q.lease_expires_at, 'violations', count(*) over ()),
         runledger._fsck_lease_repair(q.id, q.status)
    from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
   where (v_all or q.lease_token is not null)
     and ((q.status = 'LEASED') <> (q.worker_id is not null)
          or (q.lease_token is null) <> (q.lease_expires_at is null)
          or (q.lease_token is not null and q.status not in ('LEASED', 'CANCELED'))
          or (q.status = 'LEASED' and (q.lease_token is null or q.last_heartbeat_at is null)))
   order by q.id limit _fsck_jobs.max_rows;
  -- J2: exactly the finished jobs have finished_at.
  if _fsck_jobs.everything or not runledger._is_guarded('job_queue', array[
    'exactly_the_finished_jobs_have_finished_at']) then
    return query
    select 'J2', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
             'finished_at', q.finished_at, 'violations', count(*) over ()),
           format('update runledger.job_queue set finished_at = case when status in (''SUCCEEDED'','
             ' ''DEAD_LETTERED'', ''CANCELED'') then updated_at end where id = %L', q.id)
      from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
     where (q.status in ('SUCCEEDED', 'DEAD_LETTERED', 'CANCELED')) <> (q.finished_at is not null)
     order by q.id limit _fsck_jobs.max_rows;
  end if;
end
$$;

comment on function runledger._fsck_jobs(boolean, uuid, integer) is
  'Invariants J1 and J2: the shape of a job.';
