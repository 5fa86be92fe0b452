-- Cancel a job that is not finished. A handler that runs learns of it at its next heartbeat; until
-- it says that it is quiet, or its lease would have ended, it still fills a concurrency slot and
-- the job cannot be requeued.
--
-- Locks:  the job row.
-- Writes: job_queue, job_attempts, job_events; nothing for a canceled job.
-- Raises: RL001 job.not_found (also for another tenant), RL004 job.invalid_state_transition for a
--         succeeded or dead-lettered job, RL010 job.invalid_reason.
create or replace function runledger.cancel_job(
  job_id uuid, reason text default null, organization_id uuid default null)
returns runledger.canceled_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz;
  v_job runledger._held_job;
  v_quiesces_at timestamptz;
begin
  perform runledger._check_reason(cancel_job.reason, false);
  select q.id, q.job_type, q.status, q.run_number, q.attempt, q.max_attempts, q.lease_token,
         q.lease_expires_at, q.last_lease_token, q.last_disposition, q.release_count,
         q.progress_done, q.progress_total, q.workflow_run_id
    into v_job
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
  update runledger.job_queue as q
     set status = 'CANCELED', finished_at = v_now, updated_at = v_now, worker_id = null,
         lease_token = case when v_quiesces_at is not null then q.lease_token end,
         lease_expires_at = v_quiesces_at,
         last_lease_token = coalesce(q.lease_token, q.last_lease_token),
         last_disposition = case when q.lease_token is not null then 'CANCELED'
                                 else q.last_disposition end,
         status_reason = coalesce(cancel_job.reason, 'CANCELED')
   where q.id = v_job.id;
  update runledger.job_attempts as a
     set finished_at = v_now, disposition = 'CANCELED'
   where a.job_id = v_job.id and a.run_number = v_job.run_number and a.attempt = v_job.attempt
     and v_job.status = 'LEASED';
  insert into runledger.job_events (job_id, run_number, attempt, event_type, payload, occurred_at)
  values (v_job.id, v_job.run_number, nullif(v_job.attempt, 0), 'CANCELED', jsonb_build_object(
    'reason', cancel_job.reason, 'lease_quiesces_at', v_quiesces_at), v_now);
  return row(v_job.id, 'CANCELED', 'CANCELED', v_quiesces_at)::runledger.canceled_job;
end
$$;

comment on function runledger.cancel_job(uuid, text, uuid) is
  'Cancel a pending or leased job. disposition CANCELED, or UNCHANGED if it was canceled before; '
  'until lease_quiesces_at (NULL: now) its handler may still be at work.';
