-- A failure leaves its code, a release its disposition, a continuation its reason; what has none of
-- them was enqueued for later.
create or replace function runledger._why_not_due(job runledger._job_case, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_job constant runledger._job_case := _why_not_due.job;
  v_due constant text := runledger._when(v_job.next_run_at, _why_not_due.now);
begin
  return query
  select null::integer,
         case when v_job.attempt > 0 and v_job.last_error_code is not null then 'why.retry_wait'
                 when v_job.last_disposition = 'RELEASED' then 'why.release_wait'
                 when v_job.status_reason = 'HANDLER_CONTINUATION' then 'why.continuation_wait'
                 else 'why.not_due' end,
         case when v_job.attempt > 0 and v_job.last_error_code is not null
                then format('It failed and is tried again at %s. Attempt %s of %s ended with %s%s.',
                  v_due, v_job.attempt, v_job.max_attempts, v_job.last_error_code,
                  ': ' || runledger._one_line(v_job.last_error_message))
              when v_job.last_disposition = 'RELEASED'
                then format('Its worker gave it back (%s); it is due again at %s.',
                  runledger._one_line(coalesce(v_job.status_reason, 'no reason')), v_due)
              when v_job.status_reason = 'HANDLER_CONTINUATION'
                then format('Its handler has done a part and asked to go on at %s; that is run %s.',
                  v_due, v_job.run_number)
              else format('It is to run at %s, not before.', v_due) end,
         null::text;
end
$$;

comment on function runledger._why_not_due(runledger._job_case, timestamptz) is
  'Why a pending job is not due yet, and until when: delayed, retried, given back or continued.';
