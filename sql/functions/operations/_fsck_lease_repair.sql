-- A leased job gets the lease back that its attempt tells of; any other job loses what is left of
-- one.
create or replace function runledger._fsck_lease_repair(job_id uuid, status runledger.job_status)
returns text
language sql immutable parallel safe
as $$
  select format(case when _fsck_lease_repair.status = 'LEASED' then
      'update runledger.job_queue as q set worker_id = a.worker_id, lease_token = a.lease_token,'
      ' lease_role = a.role_name,'
      ' lease_expires_at = coalesce(q.lease_expires_at, runledger._now()),'
      ' last_heartbeat_at = coalesce(q.last_heartbeat_at, a.leased_at)'
      ' from runledger.job_attempts as a where q.id = %L and a.job_id = q.id'
      ' and a.run_number = q.run_number and a.attempt = q.attempt'
    else
      'update runledger.job_queue set worker_id = null, lease_token = null,'
      ' lease_expires_at = null where id = %L' end, _fsck_lease_repair.job_id)
$$;

comment on function runledger._fsck_lease_repair(uuid, runledger.job_status) is
  'The statement that makes the lease columns of a job whole again.';
