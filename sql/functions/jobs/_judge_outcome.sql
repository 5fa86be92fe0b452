-- What a failure, a continuation or a release comes to while the lease is live. Every decision about
-- retry, dead letter and refund is made here.
create or replace function runledger._judge_outcome(
  o runledger._outcome, q runledger._held_job, now timestamptz)
returns runledger._settlement
language plpgsql stable
as $$
declare
  s runledger._settlement;
  d runledger.job_definitions;
begin
  s.ordinal := o.ordinal;
  s.job_id := q.id;
  s.run_number := q.run_number;
  s.attempt := q.attempt;
  s.lease_token := q.lease_token;
  s.refund := false;
  s.done := o.done;
  s.total := o.total;
  s.checkpoint := o.checkpoint;
  if o.outcome = 'CONTINUE' then
    s.disposition := 'CONTINUED';
    s.reason := 'HANDLER_CONTINUATION';
    s.delay_ms := o.delay_ms;
    s.next_run_at := _judge_outcome.now + make_interval(secs => o.delay_ms / 1000.0);
  elsif o.outcome = 'RELEASE' then
    s.reason := o.reason;
    s.refund := q.release_count < runledger._limit('releases');
    if s.refund or q.attempt < q.max_attempts then
      s.disposition := 'RELEASED';
      s.next_run_at := _judge_outcome.now + make_interval(secs => o.delay_ms / 1000.0);
    else
      s.disposition := 'DEAD_LETTERED';
      s.kind := 'TERMINAL';
      s.code := 'job.released_too_often';
      s.message := 'released more often than a run may be, on its last attempt';
    end if;
  else
    s.kind := o.kind;
    s.code := o.error_code;
    s.message := o.error_message;
    if s.kind in ('TERMINAL', 'PANICKED') or q.attempt >= q.max_attempts then
      s.disposition := 'DEAD_LETTERED';
    else
      s.disposition := 'RETRY_SCHEDULED';
      select t.* into d from runledger.job_definitions as t where t.job_type = q.job_type;
      s.delay_ms := runledger._retry_delay_ms(d, q.id, q.attempt, o.error_code);
      s.timing_source := case when d.retry_delays_ms ? o.error_code then 'ERROR_CODE' else 'POLICY' end;
      s.next_run_at := _judge_outcome.now + make_interval(secs => s.delay_ms / 1000.0);
      s.not_before := o.not_before;
      if o.not_before > s.next_run_at then
        s.next_run_at := o.not_before;
        s.delay_ms := ceil(extract(epoch from o.not_before - _judge_outcome.now) * 1000);
        s.timing_source := 'HANDLER_NOT_BEFORE';
      end if;
    end if;
  end if;
  return s;
end
$$;

comment on function runledger._judge_outcome(runledger._outcome, runledger._held_job, timestamptz) is
  'How the lease ends that this failure, continuation or release is about.';
