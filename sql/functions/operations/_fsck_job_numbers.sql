-- J3-J5: counters and times. A constraint holds that there is an attempt left, and as with J1 a
-- fast look trusts it; the rest is asked of held jobs alone.
create or replace function runledger._fsck_job_numbers(
  everything boolean, workflow_run_id uuid, max_rows integer, now timestamptz)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_horizon constant timestamptz := _fsck_job_numbers.now
    + make_interval(days => runledger._limit('horizon_days')::integer + 1);
  v_run constant uuid := _fsck_job_numbers.workflow_run_id;
  v_max constant integer := _fsck_job_numbers.max_rows;
  v_full constant boolean := _fsck_job_numbers.everything;
begin
  -- J3: attempts lie within their budget. What was charged is what stands in job_attempts; a leased
  -- job has one attempt at least, whose row A1 writes.
  return query
  select 'J3', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'run_number', q.run_number, 'attempt', q.attempt, 'max_attempts', q.max_attempts,
           'violations', count(*) over ()),
         format('update runledger.job_queue as q set run_number = greatest(q.run_number, 1),'
           ' attempt = a.n, max_attempts = greatest(q.max_attempts, a.n + %3$s, 1) from (select'
           ' greatest(count(*), %4$s) as n from runledger.job_attempts where job_id = %1$L'
           ' and run_number = %2$s) as a where q.id = %1$L', q.id, greatest(q.run_number, 1),
           (q.status = 'PENDING')::integer, (q.status = 'LEASED')::integer)
    from runledger._fsck_scope(v_full, v_run) as q
   where (v_full or q.lease_token is not null)
     and (q.attempt < 0 or q.attempt > q.max_attempts or q.max_attempts < 1 or q.run_number < 1
          or (q.status = 'LEASED' and q.attempt < 1))
   order by q.id limit v_max;
  -- J4: a pending job has an attempt left; without one, each claim that meets it fails.
  if v_full or not runledger._is_guarded('job_queue', array[
    'a_pending_job_has_an_attempt_left']) then
    return query
    select 'J4', 'ERROR', 'job ' || q.id, jsonb_build_object('attempt', q.attempt,
             'max_attempts', q.max_attempts, 'violations', count(*) over ()),
           format('update runledger.job_queue set max_attempts = attempt + 1 where id = %L', q.id)
      from runledger._fsck_scope(v_full, v_run) as q
     where q.status = 'PENDING' and q.attempt >= q.max_attempts
     order by q.id limit v_max;
  end if;
  -- J5: times are finite and within the horizon; 'infinity' is due never and read by few drivers.
  return query
  select 'J5', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'next_run_at', q.next_run_at, 'lease_expires_at', q.lease_expires_at,
           'violations', count(*) over ()),
         format('update runledger.job_queue set next_run_at = %s, lease_expires_at = %s'
           ' where id = %L',
           case when t.due_ok then 'next_run_at' else 'runledger._now()' end,
           case when t.expiry_ok then 'lease_expires_at' else 'runledger._now()' end, q.id)
    from runledger._fsck_scope(v_full, v_run) as q
   cross join lateral (select isfinite(q.next_run_at) and q.next_run_at <= v_horizon as due_ok,
           coalesce(isfinite(q.lease_expires_at) and q.lease_expires_at <= v_horizon, true)
             as expiry_ok) as t
   where (v_full or q.lease_token is not null) and not (t.due_ok and t.expiry_ok)
   order by q.id limit v_max;
end
$$;

comment on function runledger._fsck_job_numbers(boolean, uuid, integer, timestamptz) is
  'Invariants J3 to J5: counters and times of a job.';
