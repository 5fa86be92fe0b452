create or replace function runledger._outcome_problem(decoded runledger._outcome, given jsonb)
returns text
language plpgsql stable
as $$
declare
  v_asked runledger._outcome := _outcome_problem.decoded;
  v_given jsonb := _outcome_problem.given;
begin
  if v_asked.outcome is null or v_asked.outcome not in ('SUCCEEDED', 'FAILED', 'CONTINUE',
    'RELEASE') then
    return 'job.invalid_outcome';
  elsif not runledger._has_only(v_given, case v_asked.outcome
      when 'SUCCEEDED' then '{done,total}'
      when 'FAILED' then '{kind,error_code,error_message,not_before}'
      when 'CONTINUE' then '{delay,done,total}'
      else '{delay,reason}' end::text[])
    or (v_asked.output is not null and v_asked.outcome <> 'SUCCEEDED')
    or (v_asked.checkpoint is not null and v_asked.outcome not in ('SUCCEEDED', 'CONTINUE')) then
    return 'job.unknown_field';
  elsif (v_given ? 'done' and v_asked.done is null) or (v_given ? 'total'
    and v_asked.total is null) then
    return 'job.invalid_completion_progress';
  elsif v_asked.outcome = 'FAILED' then
    return case
      when v_asked.kind is null or v_asked.kind not in ('RETRYABLE', 'TERMINAL', 'PANICKED',
        'TIMEOUT')
        then 'job.invalid_failure_kind'
      when not runledger._is_name(v_asked.error_code, runledger._limit('name_bytes'))
        then 'job.invalid_error_code'
      when v_given ? 'not_before'
        and not coalesce(v_asked.not_before > '1970-01-01'
          and v_asked.not_before <= runledger._horizon(runledger._now()), false)
        then 'job.invalid_retry_timing' end;
  elsif v_asked.outcome in ('CONTINUE', 'RELEASE') and v_asked.delay_ms is null then
    return case v_asked.outcome when 'CONTINUE' then 'job.invalid_continuation_delay'
                          else 'job.invalid_retry_delay' end;
  elsif v_asked.outcome = 'RELEASE'
    and not runledger._is_name(v_asked.reason, runledger._limit('text_bytes')) then
    return 'job.invalid_reason';
  end if;
  return coalesce(
    runledger._json_problem(v_asked.output, runledger._limit('payload_bytes')),
    runledger._json_problem(v_asked.checkpoint, runledger._limit('payload_bytes')));
end
$$;

comment on function runledger._outcome_problem(runledger._outcome, jsonb) is
  'Why an outcome is refused, or NULL.';
