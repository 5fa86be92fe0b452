-- Cancel a run: all that is not finished in it is canceled, and nothing more is let go, not even
-- steps that wait for any end. Handlers that run learn of it at their next heartbeat.
--
-- Locks:  the run, then its job rows by id.
-- Writes: workflow_runs, workflow_steps, job_queue, job_attempts, job_events, operator_actions.
--         Nothing for a finished run.
-- Raises: RL001 workflow.run_not_found (also for another tenant), RL010 job.invalid_reason,
--         RL013 workflow.unsupported_isolation.
create or replace function runledger.cancel_workflow(
  workflow_run_id uuid, reason text default null, organization_id uuid default null)
returns runledger.canceled_workflow
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz;
  v_run runledger.workflow_runs;
  v_jobs uuid[];
begin
  perform runledger._check_reason(cancel_workflow.reason, false);
  perform runledger._require_read_committed('workflow.unsupported_isolation');
  v_run := runledger._lock_run(cancel_workflow.workflow_run_id, cancel_workflow.organization_id);
  if v_run.finished_at is not null then
    return row(v_run.id, 'UNCHANGED', v_run.status)::runledger.canceled_workflow;
  end if;
  v_jobs := array(
    select s.job_id from runledger.workflow_steps as s
     where s.workflow_run_id = v_run.id and s.status in ('ENQUEUED', 'RUNNING'));
  perform from runledger.job_queue as q where q.id = any (v_jobs) order by q.id for update;
  v_now := runledger._now();
  perform runledger._cancel_jobs(v_jobs, cancel_workflow.reason, v_now);
  -- Counters of edges stay true for every step: what was still to come now has come, canceled.
  with recounted as materialized (
    select s.id, (count(*) filter (where e.release_mode = 'ON_SUCCESS'
             and e.status <> 'SUCCEEDED'))::integer as unsatisfied
      from runledger.workflow_steps as s
      left join lateral (
        select d.release_mode, p.status
          from runledger.workflow_step_dependencies as d
         cross join lateral (
           select x.status from runledger.workflow_steps as x
            where x.id = d.prerequisite_step_id offset 0) as p
         where d.dependent_step_id = s.id offset 0) as e on true
     where s.workflow_run_id = v_run.id
       and s.status in ('BLOCKED', 'WAITING_FOR_EXTERNAL', 'ENQUEUED', 'RUNNING')
     group by s.id
  )
  update runledger.workflow_steps as s
     set status = 'CANCELED', finished_at = v_now, updated_at = v_now,
         status_reason = coalesce(cancel_workflow.reason, 'CANCELED'),
         dependency_count_pending = 0, dependency_count_unsatisfied = r.unsatisfied,
         gate_expires_at = null
    from recounted as r
   where s.id = any (array[r.id]);
  update runledger.workflow_runs as r
     set status = 'CANCELED', status_reason = coalesce(cancel_workflow.reason, 'CANCELED'),
         steps_failed = r.steps_failed + r.steps_active + r.steps_waiting, steps_active = 0,
         steps_waiting = 0, finished_at = v_now, updated_at = v_now
   where r.id = v_run.id;
  perform runledger._close_runs(array[v_run.id], v_now);
  perform runledger._record_action('cancel_workflow', v_run.id::text, cancel_workflow.reason,
    jsonb_build_object('workflow_type', v_run.workflow_type, 'jobs', cardinality(v_jobs)));
  return row(v_run.id, 'CANCELED', 'CANCELED')::runledger.canceled_workflow;
end
$$;

comment on function runledger.cancel_workflow(uuid, text, uuid) is
  'Cancel a run and all that is not finished in it. disposition CANCELED, or UNCHANGED for a '
  'finished run.';
