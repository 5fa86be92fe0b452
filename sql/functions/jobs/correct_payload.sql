-- Replace the payload of a job that nobody holds, and of the step of a workflow together with that
-- of its job. The request kept for idempotency stays: a retry of the enqueue still finds this job.
--
-- Locks:  the job row, then the step of a workflow job.
-- Writes: job_queue, job_events, operator_actions; the step of a workflow job.
-- Raises: RL001 job.not_found, RL004 job.invalid_state_transition, RL010 job.invalid_reason, RL011.
create or replace function runledger.correct_payload(job_id uuid, payload jsonb, reason text)
returns runledger.changed_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz;
  v_job record;
begin
  perform runledger._check_reason(correct_payload.reason, true);
  perform runledger._checked_json(
    correct_payload.payload, runledger._limit('payload_bytes'), 'payload');
  select q.id, q.status, q.run_number, q.attempt, q.workflow_run_id,
         q.payload = coalesce(correct_payload.payload, '{}') as is_same into v_job
    from runledger.job_queue as q
   where q.id = correct_payload.job_id
     for update;
  v_now := runledger._now();
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', correct_payload.job_id));
  elsif v_job.status <> 'PENDING' then
    perform runledger._raise('job.invalid_state_transition',
      jsonb_build_object('job_id', v_job.id, 'status', v_job.status));
  elsif v_job.is_same then
    return row(v_job.id, 'UNCHANGED', v_job.status)::runledger.changed_job;
  end if;
  update runledger.job_queue as q
     set payload = coalesce(correct_payload.payload, '{}'), updated_at = v_now
   where q.id = v_job.id;
  if v_job.workflow_run_id is not null then
    update runledger.workflow_steps as s
       set payload = coalesce(correct_payload.payload, '{}'), updated_at = v_now
     where s.job_id = v_job.id;
  end if;
  insert into runledger.job_events (job_id, run_number, attempt, event_type, payload, occurred_at)
  values (v_job.id, v_job.run_number, nullif(v_job.attempt, 0), 'PAYLOAD_CORRECTED',
    jsonb_build_object('reason', correct_payload.reason, 'by', runledger._caller()), v_now);
  perform runledger._record_action('correct_payload', v_job.id::text, correct_payload.reason);
  return row(v_job.id, 'CORRECTED', v_job.status)::runledger.changed_job;
end
$$;

comment on function runledger.correct_payload(uuid, jsonb, text) is
  'Replace the payload of a pending job, and of its step if it has one, for a reason that stands '
  'in its events. disposition CORRECTED or UNCHANGED.';
