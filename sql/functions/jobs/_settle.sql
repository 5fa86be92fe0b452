-- Write the end of leases, as decided: the job, its attempt, its events, its dead letter. The only
-- place where a lease ends by its worker or by the reaper. The caller holds the runs and the job
-- rows.
create or replace function runledger._settle(settlements runledger._settlement[], now timestamptz)
returns void
language plpgsql volatile
as $$
begin
  perform runledger._close_attempts(_settle.settlements, _settle.now);
  with s as materialized (
    select x.* from unnest(_settle.settlements) as x
  ), job as (
    update runledger.job_queue as q
       set status = case when s.disposition in ('SUCCEEDED', 'DEAD_LETTERED')
                         then s.disposition else 'PENDING' end::runledger.job_status,
           worker_id = null, lease_token = null, lease_expires_at = null, updated_at = _settle.now,
           lease_role = case when s.disposition = 'RELEASED' then q.lease_role end,
           last_lease_token = case when s.disposition = 'RELEASED' then s.lease_token end,
           last_disposition = case when s.disposition = 'RELEASED' then 'RELEASED' end,
           next_run_at = coalesce(s.next_run_at, q.next_run_at),
           finished_at = case when s.disposition in ('SUCCEEDED', 'DEAD_LETTERED')
                              then _settle.now end,
           attempt = case when s.disposition = 'CONTINUED' then 0
                          when s.refund then q.attempt - 1 else q.attempt end,
           run_number = q.run_number + (s.disposition = 'CONTINUED')::integer,
           release_count = case s.disposition when 'RELEASED' then q.release_count + 1
                             when 'CONTINUED' then 0 else q.release_count end,
           started_at = case when s.disposition = 'CONTINUED' or s.refund and q.attempt = 1
                             then null else q.started_at end,
           stage = case s.disposition when 'SUCCEEDED' then 'completed'
                     when 'CONTINUED' then 'queued' else q.stage end,
           progress_done = coalesce(s.done, q.progress_done),
           progress_total = coalesce(s.total, q.progress_total),
           progress_pct = case when s.done is null and s.total is null then q.progress_pct
             else runledger._percent(coalesce(s.done, q.progress_done),
               coalesce(s.total, q.progress_total)) end,
           checkpoint = coalesce(s.checkpoint, q.checkpoint),
           output = case when s.disposition = 'SUCCEEDED' then s.output end,
           status_reason = coalesce(s.kind::text, s.reason),
           last_error_code = s.code, last_error_message = s.message
      from s
     where q.id = any (array[s.job_id])
    returning q.id, q.job_type, q.organization_id, q.status, q.run_number, q.attempt, q.payload,
              q.checkpoint, s.code, s.message
  ), lettered as (
    insert into runledger.job_dead_letters as d
      (job_id, job_type, organization_id, run_number, attempt, error_code, error_message,
       payload_snapshot, checkpoint_snapshot, failed_at)
    select j.id, j.job_type, j.organization_id, j.run_number, j.attempt, j.code, j.message,
           j.payload, j.checkpoint, _settle.now
      from job as j
     where j.status = 'DEAD_LETTERED'
    on conflict on constraint job_dead_letters_pkey do update
       set run_number = excluded.run_number, attempt = excluded.attempt,
           error_code = excluded.error_code, error_message = excluded.error_message,
           payload_snapshot = excluded.payload_snapshot,
           checkpoint_snapshot = excluded.checkpoint_snapshot, failed_at = excluded.failed_at
  )
  insert into runledger.job_events
    (job_id, run_number, attempt, event_type, stage, progress_done, progress_total, payload,
     occurred_at)
  select s.job_id, s.run_number, s.attempt, e.event_type,
         case s.disposition when 'SUCCEEDED' then 'completed' when 'CONTINUED' then 'queued' end,
         s.done, s.total, e.payload, _settle.now
    from s
   cross join lateral runledger._settlement_events(s) as e
   order by s.ordinal, e.nth;
  if exists (select from unnest(_settle.settlements) as x where x.workflow_run_id is not null) then
    perform runledger._settle_steps(_settle.settlements, _settle.now);
  end if;
end
$$;

comment on function runledger._settle(runledger._settlement[], timestamptz) is
  'Write how leases end: job_queue, job_attempts, job_dead_letters, job_events, and the steps.';
