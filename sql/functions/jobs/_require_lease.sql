-- The fence of every verb for one job: lock the row, then look at the clock, then compare. A token
-- in the hands of a role that did not claim is a wrong token.
create or replace function runledger._require_lease(job_id uuid, lease_token bigint)
returns runledger._held_job
language plpgsql volatile
as $$
declare
  v_caller constant text := runledger._caller();
  v_job runledger._held_job;
  v_holds boolean;
begin
  select q.id, q.job_type, q.status, q.run_number, q.attempt, q.max_attempts, q.lease_token,
         q.lease_expires_at, q.last_lease_token, q.last_disposition, q.release_count,
         q.progress_done, q.progress_total, q.workflow_run_id, q.lease_role
    into v_job
    from runledger.job_queue as q
   where q.id = _require_lease.job_id
     for update;
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', _require_lease.job_id));
  end if;
  v_holds := v_job.lease_role = v_caller or runledger._acts_as(v_caller, v_job.lease_role);
  if v_holds and v_job.status = 'CANCELED'
    and v_job.last_lease_token = _require_lease.lease_token then
    perform runledger._raise('job.canceled', jsonb_build_object('job_id', v_job.id));
  elsif not coalesce(v_holds, false) or v_job.status <> 'LEASED'
    or v_job.lease_token is distinct from _require_lease.lease_token
    or v_job.lease_expires_at <= runledger._now() then
    perform runledger._raise('job.lease_owner_mismatch',
      jsonb_build_object('job_id', v_job.id, 'status', v_job.status));
  end if;
  return v_job;
end
$$;

comment on function runledger._require_lease(uuid, bigint) is
  'The locked job if this token holds a live lease on it; raises otherwise.';
