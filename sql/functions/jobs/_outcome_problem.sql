create or replace function runledger._outcome_problem(decoded runledger._outcome, given jsonb)
returns text
language plpgsql stable
as $$
declare
  v runledger._outcome := _outcome_problem.decoded;
  v_given jsonb := _outcome_problem.given;
begin
  if v.outcome is null or v.outcome not in ('SUCCEEDED', 'FAILED', 'CONTINUE', 'RELEASE') then
    return 'job.invalid_outcome';
  elsif not runledger._has_only(v_given, case v.outcome
      when 'SUCCEEDED' then '{done,total}'
      when 'FAILED' then '{kind,error_code,error_message,not_before}'
      when 'CONTINUE' then '{delay,done,total}'
      else '{delay,reason}' end::text[])
    or (v.output is not null and v.outcome <> 'SUCCEEDED')
    or (v.checkpoint is not null and v.outcome not in ('SUCCEEDED', 'CONTINUE')) then
    return 'job.unknown_field';
  elsif (v_given ? 'done' and v.done is null) or (v_given ? 'total' and v.total is null) then
    return 'job.invalid_completion_progress';
  elsif v.outcome = 'FAILED' then
    return case
      when v.kind is null or v.kind not in ('RETRYABLE', 'TERMINAL', 'PANICKED', 'TIMEOUT')
        then 'job.invalid_failure_kind'
      when not runledger._is_name(v.error_code, runledger._limit('name_bytes'))
        then 'job.invalid_error_code'
      when v_given ? 'not_before'
        and not coalesce(v.not_before > '1970-01-01'
          and v.not_before <= runledger._horizon(runledger._now()), false)
        then 'job.invalid_retry_timing' end;
  elsif v.outcome in ('CONTINUE', 'RELEASE') and v.delay_ms is null then
    return case v.outcome when 'CONTINUE' then 'job.invalid_continuation_delay'
                          else 'job.invalid_retry_delay' end;
  elsif v.outcome = 'RELEASE'
    and not runledger._is_name(v.reason, runledger._limit('text_bytes')) then
    return 'job.invalid_reason';
  end if;
  return coalesce(
    runledger._json_problem(v.output, runledger._limit('payload_bytes')),
    runledger._json_problem(v.checkpoint, runledger._limit('payload_bytes')));
end
$$;

comment on function runledger._outcome_problem(runledger._outcome, jsonb) is
  'Why an outcome is refused, or NULL.';
