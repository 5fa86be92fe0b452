-- How expired leases end. An unstarted prestart claim costs nothing; the last attempt is a dead
-- letter; the rest is tried again after the delay. note tells whether the handler's heartbeat ever
-- ran: if it did not, an event loop was probably blocked.
create or replace function runledger._reap_verdicts(
  job_ids uuid[], retry_delay interval, now timestamptz)
returns runledger._settlement[]
language plpgsql stable
as $$
declare
  v_settlements runledger._settlement[];
  v_delay_ms constant bigint := extract(epoch from _reap_verdicts.retry_delay) * 1000;
begin
  select array_agg(row(row_number, q.id, q.run_number, q.attempt, q.lease_token, v.disposition,
           case when v.disposition <> 'RELEASED'
             then 'LEASE_EXPIRED' end::runledger.job_failure_kind,
           case when v.disposition <> 'RELEASED' then 'job.lease_expired' end,
           case when v.disposition <> 'RELEASED'
             then 'the lease ended without a word of its worker' end,
           case when v.disposition = 'RELEASED' then 'LEASE_EXPIRED_BEFORE_RUNNING_PERSISTED' end,
           v.disposition = 'RELEASED',
           case v.disposition when 'RETRY_SCHEDULED' then v_delay_ms when 'RELEASED' then 0 end,
           case v.disposition when 'RETRY_SCHEDULED'
             then _reap_verdicts.now + _reap_verdicts.retry_delay
             when 'RELEASED' then _reap_verdicts.now end,
           case when v.disposition = 'RETRY_SCHEDULED' then 'REAPER' end, null, null, null, null,
             null,
           jsonb_build_object(
             'started_without_renewal_heartbeat', q.last_heartbeat_at <= a.started_at),
           q.workflow_run_id)::runledger._settlement order by row_number)
    into v_settlements
    from (select i.id, i.nth as row_number
            from unnest(_reap_verdicts.job_ids) with ordinality as i(id, nth)) as i
   cross join lateral (
     select x.* from runledger.job_queue as x
      where x.id = i.id and x.status = 'LEASED' offset 0) as q
    left join lateral (
      select x.* from runledger.job_attempts as x
       where x.job_id = q.id and x.run_number = q.run_number and x.attempt = q.attempt
      offset 0) as a on true
   cross join lateral (select case
           when a.claim_origin = 'WORKER_PRESTART' and a.started_at is null then 'RELEASED'
           when q.attempt >= q.max_attempts then 'DEAD_LETTERED'
           else 'RETRY_SCHEDULED' end) as v(disposition);
  return coalesce(v_settlements, '{}');
end
$$;

comment on function runledger._reap_verdicts(uuid[], interval, timestamptz) is
  'How these expired leases end.';
