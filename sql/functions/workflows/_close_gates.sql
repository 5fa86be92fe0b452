create or replace function runledger._close_gates(
  step_ids uuid[], outcome text, output jsonb, reason text, error_code text, error_message text,
  now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_finished runledger._finished_step[];
begin
  with closed as (
    update runledger.workflow_steps as s
       set status = coalesce(_close_gates.outcome, s.on_timeout)::runledger.step_status,
           output = _close_gates.output, status_reason = _close_gates.reason,
           last_error_code = _close_gates.error_code,
           last_error_message = _close_gates.error_message, gate_expires_at = null,
           finished_at = _close_gates.now, updated_at = _close_gates.now
     where s.id = any (_close_gates.step_ids) and s.status = 'WAITING_FOR_EXTERNAL'
    returning s.id, s.workflow_run_id, s.status
  )
  select array_agg(row(c.id, c.workflow_run_id, c.status)::runledger._finished_step)
    into v_finished
    from closed as c;
  if v_finished is not null then
    perform runledger._finish_steps(v_finished, true, _close_gates.now);
  end if;
end
$$;

comment on function runledger._close_gates(
  uuid[], text, jsonb, text, text, text, timestamptz) is
  'Complete open gates, with outcome NULL each by its on_timeout; the caller holds their runs.';
