-- End a lease with a failure. The ledger decides whether and when the job is tried again.
--
-- Locks:  the job row; of a job of a workflow its run before.
-- Writes: job_queue, job_attempts, job_events, job_dead_letters; for a job of a workflow its step
--         and run, and the jobs it lets go. Notifies idle workers of what is due.
-- Raises: RL001 job.not_found, RL003 job.lease_owner_mismatch or job.canceled,
--         RL010 job.invalid_failure_kind, job.invalid_error_code, job.invalid_retry_timing,
--         RL013 workflow.unsupported_isolation for a job of a workflow.
create or replace function runledger.fail_job(
  job_id uuid, lease_token bigint, error_code text, error_message text,
  kind text default 'RETRYABLE', not_before timestamptz default null)
returns runledger.finished_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._finish_one(jsonb_build_object(
    'job_id', fail_job.job_id, 'lease_token', fail_job.lease_token, 'outcome', 'FAILED',
    'error_code', fail_job.error_code, 'error_message', fail_job.error_message,
    'kind', coalesce(fail_job.kind, ''), 'not_before', fail_job.not_before));
end
$$;

comment on function runledger.fail_job(uuid, bigint, text, text, text, timestamptz) is
  'End a lease with a failure. kind: RETRYABLE and TIMEOUT are tried again while attempts are '
  'left, TERMINAL and PANICKED dead-letter at once. not_before can only lengthen the delay of the '
  'policy. error_message is cut to 8 KiB. Disposition RETRY_SCHEDULED (next_run_at says when) or '
  'DEAD_LETTERED.';
