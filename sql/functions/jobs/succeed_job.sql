-- End a lease with success.
--
-- Locks:  the job row; of a job of a workflow its run before.
-- Writes: job_queue, job_attempts, job_events; for a job of a workflow its step and run, and the
--         jobs it lets go. Notifies idle workers.
-- Raises: RL001 job.not_found, RL003 job.lease_owner_mismatch or job.canceled,
--         RL010 job.invalid_completion_progress, RL011 for output and checkpoint,
--         RL013 workflow.unsupported_isolation for a job of a workflow.
create or replace function runledger.succeed_job(
  job_id uuid, lease_token bigint, output jsonb default null, checkpoint jsonb default null,
  done bigint default null, total bigint default null)
returns runledger.finished_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._finish_one(jsonb_build_object(
    'job_id', succeed_job.job_id, 'lease_token', succeed_job.lease_token, 'outcome', 'SUCCEEDED',
    'done', succeed_job.done, 'total', succeed_job.total),
    succeed_job.output, succeed_job.checkpoint);
end
$$;

comment on function runledger.succeed_job(uuid, bigint, jsonb, jsonb, bigint, bigint) is
  'End a lease with success. output: the result, any JSON of at most 256 KiB. Repeating it after '
  'a lost reply returns the same with replayed = true.';
