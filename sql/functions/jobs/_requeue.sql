-- Start a new run of jobs whose rows the caller has locked and checked. The event is written with
-- the run that ends.
create or replace function runledger._requeue(
  job_ids uuid[], reason text, reset_state boolean, kind text)
returns setof runledger.requeued_job
language plpgsql volatile
as $$
declare
  v_now timestamptz := runledger._now();
begin
  insert into runledger.job_events (job_id, run_number, attempt, event_type, payload, occurred_at)
  select q.id, q.run_number, nullif(q.attempt, 0), 'REQUEUED', jsonb_build_object(
           'reason', _requeue.reason, 'requeue_kind', _requeue.kind,
           'state_policy', case when _requeue.reset_state then 'RESET' else 'PRESERVE' end,
           'next_run_number', q.run_number + 1, 'next_run_at', v_now), v_now
    from runledger.job_queue as q
   where q.id = any (_requeue.job_ids);
  return query
  with requeued as (
    update runledger.job_queue as q
       set status = 'PENDING', run_number = q.run_number + 1, attempt = 0, release_count = 0,
           next_run_at = v_now, updated_at = v_now, started_at = null, finished_at = null,
           stage = 'queued', output = null, lease_token = null, lease_expires_at = null,
           lease_role = null, last_lease_token = null, last_disposition = null,
           status_reason = coalesce(_requeue.reason, 'REQUEUED'),
           last_error_code = null, last_error_message = null,
           progress_done = case when not _requeue.reset_state then q.progress_done end,
           progress_total = case when not _requeue.reset_state then q.progress_total end,
           progress_pct = case when not _requeue.reset_state then q.progress_pct end,
           checkpoint = case when not _requeue.reset_state then q.checkpoint end
     where q.id = any (_requeue.job_ids)
    returning q.id, q.job_type, q.run_number
  ), woken as materialized (
    select runledger._wake(array_agg(distinct r.job_type), v_now) from requeued as r
  )
  select r.id, 'REQUEUED', 'PENDING', r.run_number
    from unnest(_requeue.job_ids) with ordinality as i(id, nth)
    join requeued as r on r.id = i.id
   where (select count(*) from woken) = 1
   order by i.nth;
end
$$;

comment on function runledger._requeue(uuid[], text, boolean, text) is
  'A new run of each of these jobs, due now, in the order given.';
