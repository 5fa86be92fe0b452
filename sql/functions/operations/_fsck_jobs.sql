-- J1-J5: the shape of the rows of job_queue. CHECK constraints hold most of it, too; they may have
-- been dropped, or added NOT VALID.
create or replace function runledger._fsck_jobs(
  everything boolean, workflow_run_id uuid, max_rows integer, now timestamptz)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_horizon constant timestamptz := _fsck_jobs.now
    + make_interval(days => runledger._limit('horizon_days')::integer + 1);
begin
  -- J1: a lease is whole, and only a leased job has a worker. A canceled job may keep token and
  -- expiry.
  return query
  select 'J1', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'has_worker', q.worker_id is not null, 'lease_token', q.lease_token,
           'lease_expires_at', q.lease_expires_at, 'violations', count(*) over ()),
         runledger._fsck_lease_repair(q.id, q.status)
    from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
   where (q.status = 'LEASED') <> (q.worker_id is not null)
      or (q.lease_token is null) <> (q.lease_expires_at is null)
      or (q.lease_token is not null and q.status not in ('LEASED', 'CANCELED'))
      or (q.status = 'LEASED' and (q.lease_token is null or q.last_heartbeat_at is null))
   order by q.id limit _fsck_jobs.max_rows;
  -- J2: exactly the finished jobs have finished_at.
  return query
  select 'J2', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'finished_at', q.finished_at, 'violations', count(*) over ()),
         format('update runledger.job_queue set finished_at = case when status in (''SUCCEEDED'','
           ' ''DEAD_LETTERED'', ''CANCELED'') then updated_at end where id = %L', q.id)
    from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
   where (q.status in ('SUCCEEDED', 'DEAD_LETTERED', 'CANCELED')) <> (q.finished_at is not null)
   order by q.id limit _fsck_jobs.max_rows;
  -- J3: attempts lie within their budget. What was charged is what stands in job_attempts.
  return query
  select 'J3', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'run_number', q.run_number, 'attempt', q.attempt, 'max_attempts', q.max_attempts,
           'violations', count(*) over ()),
         format('update runledger.job_queue as q set run_number = greatest(q.run_number, 1),'
           ' attempt = a.n, max_attempts = greatest(q.max_attempts, a.n, 1) from (select count(*)'
           ' as n from runledger.job_attempts where job_id = %1$L and run_number = %2$s) as a'
           ' where q.id = %1$L', q.id, greatest(q.run_number, 1))
    from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
   where q.attempt < 0 or q.attempt > q.max_attempts or q.max_attempts < 1 or q.run_number < 1
      or (q.status = 'LEASED' and q.attempt < 1)
   order by q.id limit _fsck_jobs.max_rows;
  -- J4: a pending job has an attempt left; without one, each claim that meets it fails.
  return query
  select 'J4', 'ERROR', 'job ' || q.id, jsonb_build_object('attempt', q.attempt,
           'max_attempts', q.max_attempts, 'violations', count(*) over ()),
         format('update runledger.job_queue set max_attempts = attempt + 1 where id = %L', q.id)
    from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
   where q.status = 'PENDING' and q.attempt >= q.max_attempts
   order by q.id limit _fsck_jobs.max_rows;
  -- J5: times are finite and within the horizon; 'infinity' is due never and read by few drivers.
  return query
  select 'J5', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'next_run_at', q.next_run_at, 'lease_expires_at', q.lease_expires_at,
           'violations', count(*) over ()),
         format('update runledger.job_queue set next_run_at = %s, lease_expires_at = %s'
           ' where id = %L',
           case when t.due_ok then 'next_run_at' else 'runledger._now()' end,
           case when t.expiry_ok then 'lease_expires_at' else 'runledger._now()' end, q.id)
    from runledger._fsck_scope(_fsck_jobs.everything, _fsck_jobs.workflow_run_id) as q
   cross join lateral (select isfinite(q.next_run_at) and q.next_run_at <= v_horizon as due_ok,
           coalesce(isfinite(q.lease_expires_at) and q.lease_expires_at <= v_horizon, true)
             as expiry_ok) as t
   where not (t.due_ok and t.expiry_ok)
   order by q.id limit _fsck_jobs.max_rows;
end
$$;

comment on function runledger._fsck_jobs(boolean, uuid, integer, timestamptz) is
  'Invariants J1 to J5: the shape of a job.';
