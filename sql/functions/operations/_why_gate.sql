create or replace function runledger._why_gate(
  run_id uuid, gate runledger._step_case, now timestamptz)
returns runledger.reason
language plpgsql stable
as $$
declare
  v_gate constant runledger._step_case := _why_gate.gate;
begin
  if v_gate.gate_expires_at <= _why_gate.now then
    return row(null, 'why.gate_overdue',
      format('It waited for somebody to complete it until %s. Its'
      ' time is over, and it ends as %s as soon as the upkeep runs: workers do that every few'
      ' seconds, the statement does it now.',
      runledger._when(v_gate.gate_expires_at, _why_gate.now), v_gate.on_timeout),
      'select * from runledger.run_maintenance();')::runledger.reason;
  end if;
  return row(null, 'why.gate_waiting', format('It is a gate and waits since %s for somebody to'
    ' complete it%s. The statement does so, with success; outcome => ''FAILED'' says otherwise.',
    runledger._when(v_gate.released_at, _why_gate.now),
    case when v_gate.gate_expires_at is null then ', without a time limit'
      else format('; if nobody does until %s it ends as %s',
        runledger._when(v_gate.gate_expires_at, _why_gate.now), v_gate.on_timeout) end),
    runledger._complete_gate(_why_gate.run_id, v_gate.step_key))::runledger.reason;
end
$$;

comment on function runledger._why_gate(uuid, runledger._step_case, timestamptz) is
  'Since when a gate waits, until when, and what completes it.';
