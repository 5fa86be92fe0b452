-- Cancel a job that is not finished. A handler that runs learns of it at its next heartbeat; until
-- it says that it is quiet, or its lease would have ended, it still fills a concurrency slot and
-- the job cannot be requeued. A step of a workflow is canceled with its job, and its dependents
-- are told: those that wait for any end go on.
--
-- Locks:  the run of a workflow job, then the job row.
-- Writes: job_queue, job_attempts, job_events, operator_actions; the step and the run of a workflow
--         job. Nothing for a canceled job.
-- Raises: RL001 job.not_found (also for another tenant), RL004 job.invalid_state_transition for a
--         succeeded or dead-lettered job, RL010 job.invalid_reason,
--         RL013 workflow.unsupported_isolation for a job of a workflow.
create or replace function runledger.cancel_job(
  job_id uuid, reason text default null, organization_id uuid default null)
returns runledger.canceled_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz;
  v_job record;
  v_quiesces_at timestamptz;
begin
  perform runledger._check_reason(cancel_job.reason, false);
  if cardinality(runledger._lock_runs(array[cancel_job.job_id], false)) > 0 then
    perform runledger._require_read_committed('workflow.unsupported_isolation');
  end if;
  select q.id, q.status, q.lease_expires_at, q.workflow_run_id into v_job
    from runledger.job_queue as q
   where q.id = cancel_job.job_id
     and (cancel_job.organization_id is null or q.organization_id = cancel_job.organization_id)
     for update;
  v_now := runledger._now();
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', cancel_job.job_id));
  elsif v_job.status in ('SUCCEEDED', 'DEAD_LETTERED') then
    perform runledger._raise('job.invalid_state_transition',
      jsonb_build_object('job_id', v_job.id, 'status', v_job.status));
  end if;
  v_quiesces_at := case when v_job.lease_expires_at > v_now then v_job.lease_expires_at end;
  if v_job.status = 'CANCELED' then
    return row(v_job.id, 'UNCHANGED', 'CANCELED', v_quiesces_at)::runledger.canceled_job;
  end if;
  perform runledger._cancel_jobs(array[v_job.id], cancel_job.reason, v_now);
  perform runledger._record_action('cancel_job', v_job.id::text, cancel_job.reason,
    jsonb_build_object('status', v_job.status));
  if v_job.workflow_run_id is not null then
    perform runledger._cancel_step(v_job.id, cancel_job.reason, v_now);
  end if;
  return row(v_job.id, 'CANCELED', 'CANCELED', v_quiesces_at)::runledger.canceled_job;
end
$$;

comment on function runledger.cancel_job(uuid, text, uuid) is
  'Cancel a pending or leased job. disposition CANCELED, or UNCHANGED if it was canceled before; '
  'until lease_quiesces_at (NULL: now) its handler may still be at work.';
