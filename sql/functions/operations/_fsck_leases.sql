-- J6-J8: leases that live. CANCELED jobs whose handlers may still be at work count as held.
create or replace function runledger._fsck_leases(
  everything boolean, workflow_run_id uuid, max_rows integer, now timestamptz)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  -- J6: no lease lasts longer than granted. It does when the clock was set back after the grant.
  return query
  select 'J6', 'WARN', 'job ' || q.id, jsonb_build_object('status', q.status,
           'lease_token', q.lease_token, 'last_heartbeat_at', q.last_heartbeat_at,
           'lease_expires_at', q.lease_expires_at, 'violations', count(*) over ()),
         format('update runledger.job_queue set last_heartbeat_at = runledger._now(),'
           ' lease_expires_at = runledger._now() + (lease_expires_at - last_heartbeat_at)'
           ' where id = %L', q.id)
    from runledger._fsck_scope(_fsck_leases.everything, _fsck_leases.workflow_run_id) as q
   where q.status = 'LEASED' and q.lease_token is not null
     and q.last_heartbeat_at > _fsck_leases.now + interval '5 seconds'
   order by q.id limit _fsck_leases.max_rows;
  -- J7: no lease waits long to be reaped. Reapers come every few seconds; none came for a long
  -- time.
  return query
  select 'J7', 'WARN', 'job ' || q.id, jsonb_build_object('status', q.status,
           'lease_token', q.lease_token, 'lease_expires_at', q.lease_expires_at,
           'violations', count(*) over ()),
         'select * from runledger.reap_expired_leases(1000)'
    from runledger._fsck_scope(_fsck_leases.everything, _fsck_leases.workflow_run_id) as q
   where q.lease_token is not null
     and q.lease_expires_at < _fsck_leases.now - interval '15 minutes'
   order by q.id limit _fsck_leases.max_rows;
  -- J8: a live token belongs to one job, or it fences nothing outside. Ending these leases gives
  -- the jobs new tokens with their next claims.
  return query
  select 'J8', 'ERROR', 'lease token ' || q.lease_token,
         jsonb_build_object('lease_token', q.lease_token, 'jobs', count(*),
           'job_ids', (array_agg(q.id order by q.id))[:10], 'violations', count(*) over ()),
         format('update runledger.job_queue set lease_expires_at = runledger._now()'
           ' where lease_token = %s; select * from runledger.reap_expired_leases(1000)',
           q.lease_token)
    from runledger._fsck_scope(_fsck_leases.everything, _fsck_leases.workflow_run_id) as q
   where q.lease_token is not null
   group by q.lease_token
  having count(*) > 1
   order by q.lease_token limit _fsck_leases.max_rows;
end
$$;

comment on function runledger._fsck_leases(boolean, uuid, integer, timestamptz) is
  'Invariants J6 to J8: live leases.';
