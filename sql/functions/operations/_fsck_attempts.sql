-- A4, A6, A7: the rows of job_attempts. Five seconds of disorder pass: that much a clock may be
-- set back.
create or replace function runledger._fsck_attempts(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_attempts.workflow_run_id;
begin
  -- A4: exactly the finished have a disposition, exactly the failed an outcome, exactly the retried
  -- a delay, an instant and its source; a direct claim is started; leased, started and finished
  -- stand in this order.
  return query
  select 'A4', case when w.whole then 'WARN' else 'ERROR' end, 'job ' || a.job_id,
         jsonb_build_object('run_number', a.run_number, 'attempt', a.attempt,
           'claim_origin', a.claim_origin, 'leased_at', a.leased_at, 'started_at', a.started_at,
           'finished_at', a.finished_at, 'disposition', a.disposition, 'outcome', a.outcome,
           'violations', count(*) over ()),
         runledger._fsck_attempt_repair(a.job_id, a.run_number, a.attempt)
    from runledger.job_attempts as a
   cross join lateral (select (a.finished_at is null) = (a.disposition is null)
           and coalesce(a.disposition in ('SUCCEEDED', 'RETRY_SCHEDULED', 'DEAD_LETTERED',
             'CONTINUED', 'RELEASED', 'CANCELED'), true)
           and (a.disposition is not distinct from 'RETRY_SCHEDULED')
             = (a.retry_delay_ms is not null and a.effective_next_run_at is not null
               and a.retry_timing_source is not null)
           and (a.outcome is not null)
             = coalesce(a.disposition in ('RETRY_SCHEDULED', 'DEAD_LETTERED'), false)
           and (a.started_at is not null or a.claim_origin = 'WORKER_PRESTART') as whole) as w
   where (not w.whole or a.started_at < a.leased_at - interval '5 seconds'
          or a.finished_at < greatest(a.leased_at, a.started_at) - interval '5 seconds')
     and (v_run is null or exists (select from runledger.job_queue as q
            where q.id = a.job_id and q.workflow_run_id = v_run))
   order by a.job_id, a.run_number, a.attempt limit _fsck_attempts.max_rows;
  -- A6: a job that succeeded or was dead-lettered was so by its last attempt.
  return query
  select 'A6', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'run_number', q.run_number, 'attempt', q.attempt, 'disposition', a.disposition,
           'outcome', a.outcome, 'violations', count(*) over ()),
         case when a.job_id is null then runledger._fsck_look(q.id)
           else format('update runledger.job_attempts set finished_at = %L, disposition = %L,'
             ' outcome = %L, retry_delay_ms = null, effective_next_run_at = null,'
             ' retry_timing_source = null where job_id = %L and run_number = %s and attempt = %s',
             to_jsonb(coalesce(a.finished_at, q.finished_at)) #>> '{}', q.status,
             case when q.status = 'DEAD_LETTERED' then coalesce(a.outcome, 'TERMINAL') end,
             q.id, q.run_number, q.attempt) end
    from runledger.job_queue as q
    left join runledger.job_attempts as a
      on a.job_id = q.id and a.run_number = q.run_number and a.attempt = q.attempt
   where q.status in ('SUCCEEDED', 'DEAD_LETTERED') and (v_run is null or q.workflow_run_id = v_run)
     and (a.disposition is distinct from q.status::text
          or (q.status = 'SUCCEEDED' and a.outcome is not null))
   order by q.id limit _fsck_attempts.max_rows;
  -- A7: no attempt without a job, none beyond the counters of its job.
  return query
  select 'A7', 'ERROR', 'job ' || a.job_id, jsonb_build_object('run_number', a.run_number,
           'attempt', a.attempt, 'job_exists', q.id is not null, 'job_run_number', q.run_number,
           'job_attempt', q.attempt, 'violations', count(*) over ()),
         case when q.id is null
           then format('delete from runledger.job_attempts where job_id = %L', a.job_id)
           else runledger._fsck_look(a.job_id) end
    from runledger.job_attempts as a
    left join runledger.job_queue as q on q.id = a.job_id
   where (q.id is null or (a.run_number, a.attempt) > (q.run_number, q.attempt))
     and (v_run is null or q.workflow_run_id = v_run)
   order by a.job_id, a.run_number, a.attempt limit _fsck_attempts.max_rows;
end
$$;

comment on function runledger._fsck_attempts(uuid, integer) is
  'Invariants A4, A6 and A7: what an attempt says.';
