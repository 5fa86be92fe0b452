create or replace function runledger._check_completion(
  outcome text, output jsonb, reason text, error_code text, error_message text)
returns void
language plpgsql stable
as $$
begin
  perform runledger._require_read_committed('workflow.unsupported_isolation');
  if coalesce(_check_completion.outcome, '') not in ('SUCCEEDED', 'FAILED', 'CANCELED') then
    perform runledger._raise('workflow.external_step_invalid_terminal_status');
  elsif _check_completion.output is not null and _check_completion.outcome <> 'SUCCEEDED' then
    perform runledger._raise('workflow.external_step_output_not_allowed');
  elsif _check_completion.error_code is not null
    and not runledger._is_name(_check_completion.error_code, runledger._limit('name_bytes')) then
    perform runledger._raise('job.invalid_error_code');
  end if;
  perform runledger._check_reason(_check_completion.reason, false);
  perform runledger._check_reason(_check_completion.error_message, false);
  perform runledger._checked_json(
    _check_completion.output, runledger._limit('payload_bytes'), 'output');
end
$$;

comment on function runledger._check_completion(text, jsonb, text, text, text) is
  'Raise unless these are proper arguments of complete_external_step.';
