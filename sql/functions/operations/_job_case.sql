-- No JSON body leaves the table. locker is the last transaction that locked the row; it counts only
-- while it is open.
create or replace function runledger._job_case(job_id uuid, tenant uuid)
returns setof runledger._job_case
language plpgsql stable
as $$
begin
  return query
  select q.id, q.job_type, q.status, q.priority, q.run_number, q.attempt, q.max_attempts,
         q.timeout_seconds, q.next_run_at, q.worker_id, q.lease_token, q.lease_expires_at,
         q.last_heartbeat_at, q.last_disposition, q.started_at, q.finished_at, q.stage,
         q.progress_done, q.progress_total, q.status_reason, q.last_error_code,
         q.last_error_message, q.workflow_run_id, q.updated_at, runledger._is_redacted(q.payload),
         q.xmax, _job_case.tenant
    from runledger.job_queue as q
   where q.id = _job_case.job_id;
end
$$;

comment on function runledger._job_case(uuid, uuid) is
  'What why looks at of a job, or no row; tenant is on whose behalf it was asked.';
