-- Run a dead-lettered or canceled job again, as a new run with a fresh budget of attempts.
--
-- Locks:  the job row, and only if it is as expected: a miss delays nobody.
-- Writes: job_queue, job_events, operator_actions. Notifies idle workers.
-- Raises: RL001 job.not_found, RL004 job.invalid_state_transition and
--         job.workflow_requeue_not_supported, RL021 job.requeue_expectation_mismatch and
--         job.cancellation_not_quiesced, RL010 job.invalid_reason, job.invalid_status,
--         RL013 job.requeue_unsupported_isolation.
create or replace function runledger.requeue_job(
  job_id uuid, reason text default null, expected_status text default null,
  expected_run_number integer default null, reset_state boolean default true,
  organization_id uuid default null)
returns runledger.requeued_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_ids uuid[];
  v_row runledger.requeued_job;
begin
  perform runledger._check_reason(requeue_job.reason, false);
  perform runledger._require_read_committed('job.requeue_unsupported_isolation');
  if requeue_job.expected_status not in
    ('PENDING', 'LEASED', 'SUCCEEDED', 'DEAD_LETTERED', 'CANCELED') then
    perform runledger._raise('job.invalid_status');
  end if;
  -- A row that changes between the look and the lock is looked at again.
  for v_round in 1..10 loop
    perform runledger._check_requeue(requeue_job.job_id, requeue_job.expected_status,
      requeue_job.expected_run_number, requeue_job.organization_id, v_now);
    v_ids := array(
      select q.id
        from runledger.job_queue as q
       where q.id = requeue_job.job_id and q.status in ('DEAD_LETTERED', 'CANCELED')
         and q.workflow_run_id is null and not runledger._is_redacted(q.payload)
         and (q.lease_expires_at is null or q.lease_expires_at <= v_now)
         and q.status::text = coalesce(requeue_job.expected_status, q.status::text)
         and q.run_number = coalesce(requeue_job.expected_run_number, q.run_number)
         for no key update);
    exit when cardinality(v_ids) = 1;
  end loop;
  if cardinality(v_ids) = 0 then
    perform runledger._raise('job.requeue_expectation_mismatch',
      jsonb_build_object('job_id', requeue_job.job_id));
  end if;
  select r.* into v_row
    from runledger._requeue(v_ids, requeue_job.reason, coalesce(requeue_job.reset_state, true),
      case when num_nonnulls(requeue_job.expected_status, requeue_job.expected_run_number) > 0
           then 'COMPARE_AND_REQUEUE' else 'BASIC' end) as r;
  perform runledger._record_action('requeue_job', v_row.job_id::text, requeue_job.reason,
    jsonb_build_object('run_number', v_row.run_number));
  return v_row;
end
$$;

comment on function runledger.requeue_job(uuid, text, text, integer, boolean, uuid) is
  'Run a dead-lettered or canceled job again: run_number + 1, fresh attempts, due now. '
  'expected_status and expected_run_number make it refuse if the job is not as you saw it. '
  'reset_state => false keeps progress and checkpoint. A canceled job whose handler may still be '
  'at work is refused with retry_after in the detail. For succeeded jobs there is replay_job.';
