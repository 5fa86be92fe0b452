-- End the leases of plain successes in one statement: verdict and writing are the same thing here.
-- Either every lease is live, or nothing is written: the rows that were locked are given back with
-- the subtransaction, because the judge locks in an order of its own. The clock is read row by row,
-- after the row lock: an update that waited looks at the row and at the clock again, and ends the
-- job after whatever it has waited for. The run of a job never changes, so the runs are known
-- before the jobs are locked, as the order of locks wants it. A job that stands twice in the batch
-- is ended once, so that the count is wrong and the judge says which was the repetition.
--
-- The index of held leases must not serve here, it would be read whole for each item: coalesce
-- keeps the planner from it.
create or replace function runledger._succeed_jobs(outcomes jsonb)
returns runledger.finished_job[]
language plpgsql volatile
as $$
declare
  v_caller constant text := runledger._caller();
  v_asked runledger._successes;
  v_results runledger.finished_job[];
begin
  v_asked := runledger._plain_successes(_succeed_jobs.outcomes);
  if v_asked.job_ids is null then
    return null;
  elsif v_asked.runs is not null then
    perform runledger._require_read_committed('workflow.unsupported_isolation');
    perform from runledger.workflow_runs as r
      where r.id = any (v_asked.runs) order by r.id for no key update;
  end if;
  with asked as materialized (
    select a.* from unnest(v_asked.ordinals, v_asked.job_ids, v_asked.lease_tokens,
                           v_asked.outputs, v_asked.places)
                    as a(ordinal, job_id, lease_token, output, place)
  ), ended as (
    update runledger.job_queue as q
       set status = 'SUCCEEDED', worker_id = null, lease_token = null, lease_expires_at = null,
           lease_role = null, last_lease_token = null, last_disposition = null,
           finished_at = runledger._now(), stage = 'completed', output = a.output,
           status_reason = null, last_error_code = null, last_error_message = null,
           updated_at = runledger._now()
      from asked as a
     where q.ctid = a.place and q.id is not distinct from a.job_id and q.status = 'LEASED'
       and coalesce(q.lease_token, 0) = a.lease_token
       and q.lease_expires_at > runledger._now()
       and (q.lease_role = v_caller or runledger._acts_as(v_caller, q.lease_role))
    returning a.ordinal, q.id, q.run_number, q.attempt, q.progress_done, q.progress_total,
              q.finished_at
  ), closed as (
    update runledger.job_attempts as a
       set finished_at = e.finished_at, disposition = 'SUCCEEDED'
      from ended as e
     where a.job_id = any (array[e.id]) and a.run_number = e.run_number and a.attempt = e.attempt
  ), logged as (
    insert into runledger.job_events (job_id, run_number, attempt, event_type, stage, occurred_at)
    select e.id, e.run_number, e.attempt, 'SUCCEEDED', 'completed', e.finished_at
      from ended as e
  )
  select array_agg(
           row(e.ordinal, e.id, 'SUCCEEDED', false, 'SUCCEEDED', null, null, e.progress_done,
               e.progress_total)::runledger.finished_job order by e.ordinal)
    into v_results
    from ended as e;
  if coalesce(cardinality(v_results), 0) < cardinality(v_asked.job_ids) then
    perform runledger._raise('job.lease_owner_mismatch');
  elsif v_asked.runs is not null then
    perform runledger._succeed_steps(v_asked.job_ids, v_asked.outputs, runledger._now());
  end if;
  return v_results;
exception
  -- No uuid, no integer: the judge says which. A lease that was lost between look and lock.
  when data_exception or sqlstate 'RL003' then return null;
end
$$;

comment on function runledger._succeed_jobs(jsonb) is
  'End these leases with success if all of them are live, and the steps of workflow jobs with '
  'them; their results, or NULL and nothing is written.';
