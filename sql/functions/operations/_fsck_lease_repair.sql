-- A leased job gets the lease back that its attempt tells of; where that has no row either, one
-- that is over, if nothing is left of it, and A1 writes the row. Any other job loses what is left
-- of one.
create or replace function runledger._fsck_lease_repair(job_id uuid, status runledger.job_status)
returns text
language sql immutable parallel safe
as $$
  select format(case when _fsck_lease_repair.status = 'LEASED' then
      'update runledger.job_queue as q set'
      ' worker_id = coalesce(a.worker_id, q.worker_id, ''unknown''),'
      ' lease_token = coalesce(a.lease_token, q.lease_token,'
      ' nextval(''runledger.lease_token_seq'')),'
      ' lease_role = case when a.job_id is null then q.lease_role else a.role_name end,'
      ' lease_expires_at = coalesce(q.lease_expires_at, runledger._now()),'
      ' last_heartbeat_at = coalesce(q.last_heartbeat_at, a.leased_at, runledger._now())'
      ' from runledger.job_queue as j left join runledger.job_attempts as a on a.job_id = j.id'
      ' and a.run_number = j.run_number and a.attempt = j.attempt'
      ' where j.id = %L and q.id = j.id'
    else
      'update runledger.job_queue set worker_id = null, lease_token = null,'
      ' lease_expires_at = null where id = %L' end, _fsck_lease_repair.job_id)
$$;

comment on function runledger._fsck_lease_repair(uuid, runledger.job_status) is
  'The statement that makes the lease columns of a job whole again.';
