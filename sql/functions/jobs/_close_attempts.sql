-- Close the attempts whose leases end; a refunded one leaves no row.
create or replace function runledger._close_attempts(
  settlements runledger._settlement[], now timestamptz)
returns void
language plpgsql volatile
as $$
begin
  with s as materialized (
    select x.* from unnest(_close_attempts.settlements) as x
  ), closed as (
    update runledger.job_attempts as a
       set finished_at = _close_attempts.now, disposition = s.disposition, outcome = s.kind,
           error_code = s.code, error_message = s.message,
           retry_delay_ms = case when s.disposition = 'RETRY_SCHEDULED' then s.delay_ms end,
           requested_retry_not_before = s.not_before,
           effective_next_run_at = case when s.disposition = 'RETRY_SCHEDULED'
             then s.next_run_at end,
           retry_timing_source = s.timing_source
      from s
     where a.job_id = any (array[s.job_id]) and a.run_number = s.run_number
       and a.attempt = s.attempt and not s.refund
  )
  delete from runledger.job_attempts as a
   using s
   where a.job_id = any (array[s.job_id]) and a.run_number = s.run_number and a.attempt = s.attempt
     and s.refund;
end
$$;

comment on function runledger._close_attempts(runledger._settlement[], timestamptz) is
  'Close or delete the attempts of these settlements.';
