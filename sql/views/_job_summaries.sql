-- Not by _now(): a volatile function would keep the view from being merged into what asks.
create or replace view runledger._job_summaries as
  select q.id as job_id, q.job_type, q.organization_id, q.status::text as status,
         runledger._job_state(q.status, q.lease_expires_at, q.next_run_at, q.attempt,
           statement_timestamp()) as state,
         q.priority, q.run_number, q.attempt, q.max_attempts, q.next_run_at, q.worker_id,
         q.lease_expires_at, q.started_at, q.finished_at, q.stage, q.progress_done,
         q.progress_total, q.progress_pct, q.status_reason, q.last_error_code, q.workflow_run_id,
         q.created_at, q.updated_at
    from runledger.job_queue as q;

comment on view runledger._job_summaries is
  'Jobs in the shape of job_summary. Internal: read the view jobs.';
