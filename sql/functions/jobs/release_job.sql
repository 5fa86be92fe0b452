-- Give a lease back: the work was not done and nobody is to blame (a shutdown, say). The attempt is
-- refunded, the first 100 times in a run.
--
-- Locks:  the job row; of a job of a workflow its run before.
-- Writes: job_queue, job_attempts, job_events; after 100 releases on the last attempt
--         job_dead_letters; for a job of a workflow its step and run, and the jobs it lets go.
--         Notifies idle workers of what is due.
-- Raises: RL001 job.not_found, RL003 job.lease_owner_mismatch or job.canceled,
--         RL010 job.invalid_reason, job.invalid_retry_delay,
--         RL013 workflow.unsupported_isolation for a job of a workflow.
create or replace function runledger.release_job(
  job_id uuid, lease_token bigint, reason text, delay interval default '0')
returns runledger.finished_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._finish_one(jsonb_build_object(
    'job_id', release_job.job_id, 'lease_token', release_job.lease_token, 'outcome', 'RELEASE',
    'reason', release_job.reason, 'delay', coalesce(release_job.delay::text, 'NULL')));
end
$$;

comment on function runledger.release_job(uuid, bigint, text, interval) is
  'Give a lease back uncharged, for a reason, to run again after delay. After 100 releases in a '
  'run the attempt is charged.';
