create or replace function runledger._settlement_events(settlement runledger._settlement)
returns table (nth integer, event_type runledger.job_event_type, payload jsonb)
language sql immutable parallel safe
as $$
  select 1, case
           when (settlement).disposition = 'SUCCEEDED' then 'SUCCEEDED'
           when (settlement).disposition in ('CONTINUED', 'RELEASED') then 'REQUEUED'
           else 'FAILED' end::runledger.job_event_type,
         case
           when (settlement).disposition = 'SUCCEEDED' then '{}'
           when (settlement).disposition = 'CONTINUED' then jsonb_build_object(
             'reason', (settlement).reason, 'requeue_kind', 'HANDLER_CONTINUATION',
             'next_run_number', (settlement).run_number + 1,
             'next_run_at', (settlement).next_run_at,
             'delay_microseconds', (settlement).delay_ms * 1000)
           when (settlement).disposition = 'RELEASED' then jsonb_build_object(
             'reason', (settlement).reason, 'requeue_kind', 'RELEASE',
             'refunded', (settlement).refund, 'next_run_at', (settlement).next_run_at)
           else jsonb_build_object('kind', (settlement).kind, 'error_code', (settlement).code,
             'error_message', (settlement).message)
             || coalesce((settlement).note, '{}') end
  union all
  select 2, case when (settlement).disposition = 'DEAD_LETTERED'
                 then 'DEAD_LETTERED' else 'RETRY_SCHEDULED' end::runledger.job_event_type,
         case when (settlement).disposition = 'DEAD_LETTERED'
           then jsonb_build_object('kind', (settlement).kind, 'error_code', (settlement).code)
           else jsonb_build_object('kind', (settlement).kind,
             'retry_delay_ms', (settlement).delay_ms, 'next_run_at', (settlement).next_run_at,
             'requested_retry_not_before', (settlement).not_before,
             'retry_timing_source', (settlement).timing_source) end
         || coalesce((settlement).note, '{}')
   where (settlement).disposition in ('DEAD_LETTERED', 'RETRY_SCHEDULED')
$$;

comment on function runledger._settlement_events(runledger._settlement) is
  'The one or two events that tell how a lease ended.';
