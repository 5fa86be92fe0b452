-- The live leases of a worker that it does not know of, as far as its role claimed them: after a
-- claim whose reply was lost they can run at once instead of waiting until they expire. Who uses a
-- name again asks before the first claim: what is there then was begun by somebody who is gone.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_worker_id, job.invalid_tokens.
create or replace function runledger.leased_jobs(
  worker_id text, known_tokens bigint[] default '{}')
returns setof runledger.claimed_job
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_caller constant text := runledger._caller();
begin
  if not runledger._is_name(leased_jobs.worker_id, runledger._limit('name_bytes')) then
    perform runledger._raise('job.invalid_worker_id');
  end if;
  if leased_jobs.known_tokens is null then
    perform runledger._raise('job.invalid_tokens');
  end if;
  return query
  select q.id, q.lease_token, q.job_type, q.organization_id, q.payload, q.checkpoint, q.run_number,
         q.attempt, q.max_attempts, q.priority, q.timeout_seconds, q.lease_expires_at,
         q.workflow_run_id, s.step_key, i.inputs, s.id is not null and i.inputs is null,
         q.created_at
    from runledger.job_queue as q
    left join runledger.workflow_steps as s on q.workflow_run_id is not null and s.job_id = q.id
    left join lateral (
      select runledger._step_inputs(s.id, s.dependency_count_total) as inputs offset 0
         ) as i on s.id is not null
   where q.lease_token is not null and q.status = 'LEASED'
     and q.worker_id = leased_jobs.worker_id and q.lease_expires_at > v_now
     and (q.lease_token = any (leased_jobs.known_tokens)) is not true
     and (q.lease_role = v_caller or runledger._acts_as(v_caller, q.lease_role))
   order by q.lease_token
   limit runledger._limit('max_jobs');
end
$$;

comment on function runledger.leased_jobs(text, bigint[]) is
  'The live leases of this worker but for the tokens it knows, in the shape of claim_jobs. Who '
  'uses a worker_id again should ask before its first claim, and count those tokens as known '
  'from then on: their handlers may have begun.';
