-- Everything about one job.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing; no row if there is none, or if it belongs to another tenant.
create or replace function runledger.get_job(job_id uuid, organization_id uuid default null)
returns setof runledger.job_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_whole constant boolean := runledger._is_owner();
begin
  return query
  select q.id, q.job_type, q.organization_id, q.status::text,
         runledger._job_state(q.status, q.lease_expires_at, q.next_run_at, q.attempt,
           runledger._now()),
         q.priority, q.run_number, q.attempt,
         q.max_attempts, q.timeout_seconds, q.next_run_at, q.worker_id, q.lease_expires_at,
         q.last_heartbeat_at, q.started_at, q.finished_at, q.stage, q.progress_done,
         q.progress_total, q.progress_pct, case when v_whole then q.idempotency_key end,
         q.status_reason, q.last_error_code, q.last_error_message, q.workflow_run_id,
         q.schedule_id, q.scheduled_for, case when v_whole then q.payload end,
         case when v_whole then q.checkpoint end, case when v_whole then q.output end,
         q.created_at, q.updated_at
    from runledger.job_queue as q
   where q.id = get_job.job_id
     and (get_job.organization_id is null or q.organization_id = get_job.organization_id);
end
$$;

comment on function runledger.get_job(uuid, uuid) is
  'Everything about one job, or no row. Its key and JSON bodies are NULL unless the owner of the '
  'schema asks: operators read bodies with job_payload, which is recorded.';
