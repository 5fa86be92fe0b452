-- What a failure, a continuation or a release comes to while the lease is live. Every decision
-- about retry, dead letter and refund is made here.
create or replace function runledger._judge_outcome(
  outcome runledger._outcome, job runledger._held_job, now timestamptz)
returns runledger._settlement
language plpgsql stable
as $$
declare
  v_asked constant runledger._outcome := _judge_outcome.outcome;
  v_job constant runledger._held_job := _judge_outcome.job;
  v_end runledger._settlement;
  v_policy runledger.job_definitions;
begin
  v_end.ordinal := v_asked.ordinal;
  v_end.job_id := v_job.id;
  v_end.run_number := v_job.run_number;
  v_end.attempt := v_job.attempt;
  v_end.lease_token := v_job.lease_token;
  v_end.workflow_run_id := v_job.workflow_run_id;
  v_end.refund := false;
  v_end.done := v_asked.done;
  v_end.total := v_asked.total;
  v_end.checkpoint := v_asked.checkpoint;
  if v_asked.outcome = 'CONTINUE' then
    v_end.disposition := 'CONTINUED';
    v_end.reason := 'HANDLER_CONTINUATION';
    v_end.delay_ms := v_asked.delay_ms;
    v_end.next_run_at := _judge_outcome.now + make_interval(secs => v_asked.delay_ms / 1000.0);
  elsif v_asked.outcome = 'RELEASE' then
    v_end.reason := v_asked.reason;
    v_end.refund := v_job.release_count < runledger._limit('releases');
    if v_end.refund or v_job.attempt < v_job.max_attempts then
      v_end.disposition := 'RELEASED';
      v_end.next_run_at := _judge_outcome.now + make_interval(secs => v_asked.delay_ms / 1000.0);
    else
      v_end.disposition := 'DEAD_LETTERED';
      v_end.kind := 'TERMINAL';
      v_end.code := 'job.released_too_often';
      v_end.message := 'released more often than a run may be, on its last attempt';
    end if;
  else
    v_end.kind := v_asked.kind;
    v_end.code := v_asked.error_code;
    v_end.message := v_asked.error_message;
    if v_end.kind in ('TERMINAL', 'PANICKED') or v_job.attempt >= v_job.max_attempts then
      v_end.disposition := 'DEAD_LETTERED';
    else
      v_end.disposition := 'RETRY_SCHEDULED';
      select t.* into v_policy from runledger.job_definitions as t
        where t.job_type = v_job.job_type;
      v_end.delay_ms := runledger._retry_delay_ms(v_policy, v_job.id, v_job.attempt,
        v_asked.error_code);
      v_end.timing_source := case when v_policy.retry_delays_ms ? v_asked.error_code
        then 'ERROR_CODE' else 'POLICY' end;
      v_end.next_run_at := _judge_outcome.now + make_interval(secs => v_end.delay_ms / 1000.0);
      v_end.not_before := v_asked.not_before;
      if v_asked.not_before > v_end.next_run_at then
        v_end.next_run_at := v_asked.not_before;
        v_end.delay_ms := ceil(extract(epoch from v_asked.not_before - _judge_outcome.now) * 1000);
        v_end.timing_source := 'HANDLER_NOT_BEFORE';
      end if;
    end if;
  end if;
  return v_end;
end
$$;

comment on function runledger._judge_outcome(
  runledger._outcome, runledger._held_job, timestamptz) is
  'How the lease ends that this failure, continuation or release is about.';
