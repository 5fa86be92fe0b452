create or replace function runledger._check_requeue(
  job_id uuid, expected_status text, expected_run_number integer, organization_id uuid,
  now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_job record;
begin
  select q.id, q.status, q.run_number, q.lease_expires_at, q.workflow_run_id,
         runledger._is_redacted(q.payload) as is_redacted into v_job
    from runledger.job_queue as q
   where q.id = _check_requeue.job_id
     and (_check_requeue.organization_id is null
          or q.organization_id = _check_requeue.organization_id);
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', _check_requeue.job_id));
  elsif v_job.workflow_run_id is not null then
    perform runledger._raise('job.workflow_requeue_not_supported', jsonb_build_object(
      'job_id', v_job.id, 'workflow_run_id', v_job.workflow_run_id));
  elsif v_job.status::text <> _check_requeue.expected_status
    or v_job.run_number <> _check_requeue.expected_run_number then
    perform runledger._raise('job.requeue_expectation_mismatch', jsonb_build_object(
      'job_id', v_job.id, 'status', v_job.status, 'run_number', v_job.run_number));
  elsif v_job.status not in ('DEAD_LETTERED', 'CANCELED') or v_job.is_redacted then
    perform runledger._raise('job.invalid_state_transition', jsonb_build_object(
      'job_id', v_job.id, 'status', v_job.status, 'redacted', v_job.is_redacted));
  elsif v_job.lease_expires_at > _check_requeue.now then
    perform runledger._raise('job.cancellation_not_quiesced', jsonb_build_object(
      'job_id', v_job.id, 'retry_after', v_job.lease_expires_at));
  end if;
end
$$;

comment on function runledger._check_requeue(uuid, text, integer, uuid, timestamptz) is
  'Raise what stands against a requeue; locks nothing.';
