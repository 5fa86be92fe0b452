-- Whether a gate was completed like this before; raises if it was completed otherwise or is not
-- open.
create or replace function runledger._is_same_completion(
  gate runledger.workflow_steps, outcome text, output jsonb, reason text, error_code text,
  error_message text)
returns boolean
language plpgsql stable
as $$
declare
  v_gate constant runledger.workflow_steps := _is_same_completion.gate;
  v_where constant jsonb := jsonb_build_object('workflow_run_id', v_gate.workflow_run_id,
    'step_key', v_gate.step_key, 'status', v_gate.status);
begin
  if v_gate.status = 'WAITING_FOR_EXTERNAL' then
    return false;
  elsif v_gate.status = 'BLOCKED' or v_gate.released_at is null then
    perform runledger._raise('workflow.external_step_not_waiting', v_where);
  elsif v_gate.status::text <> _is_same_completion.outcome
    or (v_gate.status_reason, v_gate.last_error_code, v_gate.last_error_message)
       is distinct from (_is_same_completion.reason, _is_same_completion.error_code,
                         _is_same_completion.error_message) then
    perform runledger._raise('workflow.external_step_conflicting_completion_retry', v_where);
  elsif v_gate.output is distinct from _is_same_completion.output then
    perform runledger._raise('workflow.external_step_conflicting_output_retry', v_where);
  end if;
  return true;
end
$$;

comment on function runledger._is_same_completion(
  runledger.workflow_steps, text, jsonb, text, text, text) is
  'Whether the gate was completed like this before; raises if it cannot be completed.';
