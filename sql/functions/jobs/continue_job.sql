-- End a lease with a fresh run of the same job: progress and checkpoint stay, attempts start anew.
--
-- Locks:  the job row; of a job of a workflow its run before.
-- Writes: job_queue, job_attempts, job_events; for a job of a workflow its step. Notifies idle
--         workers of what is due.
-- Raises: RL001 job.not_found, RL003 job.lease_owner_mismatch or job.canceled,
--         RL010 job.invalid_continuation_delay, job.invalid_completion_progress,
--         RL011 for checkpoint,
--         RL004 job.workflow_handler_continuation_not_enabled,
--         RL013 workflow.unsupported_isolation for a job of a workflow.
create or replace function runledger.continue_job(
  job_id uuid, lease_token bigint, delay interval default '0', checkpoint jsonb default null,
  done bigint default null, total bigint default null)
returns runledger.finished_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._finish_one(jsonb_build_object(
    'job_id', continue_job.job_id, 'lease_token', continue_job.lease_token, 'outcome', 'CONTINUE',
    'delay', coalesce(continue_job.delay::text, 'NULL'),
    'done', continue_job.done, 'total', continue_job.total),
    null, continue_job.checkpoint);
end
$$;

comment on function runledger.continue_job(uuid, bigint, interval, jsonb, bigint, bigint) is
  'End a lease with a fresh run of the same job after delay: run_number + 1, attempt 0, progress '
  'and checkpoint kept or replaced. For long work in slices and for polling.';
