-- Cancel pending and leased jobs whose rows the caller holds. A live lease leaves its token and
-- expiry as the mark that a handler may still be at work.
create or replace function runledger._cancel_jobs(job_ids uuid[], reason text, now timestamptz)
returns void
language plpgsql volatile
as $$
begin
  with target as materialized (
    select q.id, q.run_number, q.attempt, q.lease_token,
           case when q.lease_expires_at > _cancel_jobs.now then q.lease_expires_at
                end as quiesces_at
      from runledger.job_queue as q
     where q.id = any (_cancel_jobs.job_ids) and q.status in ('PENDING', 'LEASED')
  ), canceled as (
    update runledger.job_queue as q
       set status = 'CANCELED', finished_at = _cancel_jobs.now, updated_at = _cancel_jobs.now,
           worker_id = null, lease_expires_at = t.quiesces_at,
           lease_token = case when t.quiesces_at is not null then t.lease_token end,
           last_lease_token = coalesce(t.lease_token, q.last_lease_token),
           last_disposition = case when t.lease_token is not null then 'CANCELED'
                                   else q.last_disposition end,
           status_reason = coalesce(_cancel_jobs.reason, 'CANCELED')
      from target as t
     where q.id = any (array[t.id])
  ), closed as (
    update runledger.job_attempts as a
       set finished_at = _cancel_jobs.now, disposition = 'CANCELED'
      from target as t
     where a.job_id = any (array[t.id]) and a.run_number = t.run_number and a.attempt = t.attempt
       and t.lease_token is not null
  )
  insert into runledger.job_events (job_id, run_number, attempt, event_type, payload, occurred_at)
  select t.id, t.run_number, nullif(t.attempt, 0), 'CANCELED', jsonb_build_object(
           'reason', _cancel_jobs.reason, 'lease_quiesces_at', t.quiesces_at), _cancel_jobs.now
    from target as t;
end
$$;

comment on function runledger._cancel_jobs(uuid[], text, timestamptz) is
  'Cancel these pending and leased jobs: job, attempt, event.';
