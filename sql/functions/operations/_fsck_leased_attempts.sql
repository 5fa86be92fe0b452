-- A1, A2: open attempts and live leases are two sides of one thing.
create or replace function runledger._fsck_leased_attempts(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_leased_attempts.workflow_run_id;
begin
  -- A1: the attempt of a leased job is open, with the same worker and token.
  return query
  select 'A1', 'ERROR', 'job ' || q.id, jsonb_build_object('run_number', q.run_number,
           'attempt', q.attempt, 'lease_token', q.lease_token,
           'attempt_lease_token', a.lease_token, 'attempt_finished_at', a.finished_at,
           'same_worker', a.worker_id = q.worker_id, 'violations', count(*) over ()),
         format('insert into runledger.job_attempts as a (job_id, run_number, attempt, worker_id,'
           ' lease_token, role_name, leased_at, started_at) select id, run_number, attempt,'
           ' worker_id, lease_token, lease_role, last_heartbeat_at, last_heartbeat_at'
           ' from runledger.job_queue where id = %L and status = ''LEASED'''
           ' on conflict (job_id, run_number, attempt) do update set'
           ' worker_id = excluded.worker_id, lease_token = excluded.lease_token,'
           ' role_name = excluded.role_name, finished_at = null, disposition = null,'
           ' outcome = null, error_code = null, error_message = null,'
           ' retry_delay_ms = null, effective_next_run_at = null,'
           ' retry_timing_source = null', q.id)
    from runledger.job_queue as q
    left join runledger.job_attempts as a
      on a.job_id = q.id and a.run_number = q.run_number and a.attempt = q.attempt
   where q.status = 'LEASED' and (v_run is null or q.workflow_run_id = v_run)
     and (a.job_id is null or a.finished_at is not null
          or a.worker_id is distinct from q.worker_id
          or a.lease_token is distinct from q.lease_token)
   order by q.id limit _fsck_leased_attempts.max_rows;
  -- A2: an open attempt belongs to the lease its job holds now. How it ended is not known; where
  -- the job is finished, it ended as the job did, else as if it had been given back.
  return query
  select 'A2', 'ERROR', 'job ' || a.job_id, jsonb_build_object('run_number', a.run_number,
           'attempt', a.attempt, 'lease_token', a.lease_token, 'status', q.status,
           'job_run_number', q.run_number, 'job_attempt', q.attempt,
           'violations', count(*) over ()),
         format('update runledger.job_attempts set finished_at = %L, disposition = %L,'
           ' outcome = %L where job_id = %L and run_number = %s and attempt = %s',
           -- As JSON has it: the date style of a session may name a zone that is read as another.
           to_jsonb(case when e.is_last then q.finished_at
                         else greatest(a.leased_at, a.started_at) end) #>> '{}',
           case when e.is_last then q.status::text else 'RELEASED' end,
           case when e.is_last and q.status = 'DEAD_LETTERED' then 'TERMINAL' end,
           a.job_id, a.run_number, a.attempt)
    from runledger.job_attempts as a
    join runledger.job_queue as q on q.id = a.job_id
   cross join lateral (select q.finished_at is not null and a.run_number = q.run_number
           and a.attempt = q.attempt as is_last) as e
   where a.finished_at is null and (v_run is null or q.workflow_run_id = v_run)
     and not (q.status = 'LEASED' and a.run_number = q.run_number and a.attempt = q.attempt)
   order by a.job_id, a.run_number, a.attempt limit _fsck_leased_attempts.max_rows;
end
$$;

comment on function runledger._fsck_leased_attempts(uuid, integer) is
  'Invariants A1 and A2: open attempts and live leases.';
