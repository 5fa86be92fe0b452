-- Gates whose time has run out, picked without locks; their runs are locked in order, and those
-- that somebody holds are left for the next pass.
create or replace function runledger._time_out_gates(max_rows integer, now timestamptz)
returns bigint
language plpgsql volatile
as $$
declare
  v_runs uuid[];
  v_gates uuid[] := array(
    select s.id from runledger.workflow_steps as s
     where s.status = 'WAITING_FOR_EXTERNAL' and s.gate_expires_at <= _time_out_gates.now
     order by s.gate_expires_at limit _time_out_gates.max_rows);
begin
  if cardinality(v_gates) = 0 then
    return 0;
  end if;
  v_runs := array(
    select r.id from runledger.workflow_runs as r
     where r.id in (select s.workflow_run_id from runledger.workflow_steps as s
                     where s.id = any (v_gates))
     order by r.id for no key update skip locked);
  v_gates := array(
    select s.id from runledger.workflow_steps as s
     where s.id = any (v_gates) and s.workflow_run_id = any (v_runs)
       and s.status = 'WAITING_FOR_EXTERNAL' and s.gate_expires_at <= _time_out_gates.now);
  perform runledger._close_gates(v_gates, null, null, 'GATE_TIMEOUT', 'workflow.gate_timeout',
    'the gate was not completed in time', _time_out_gates.now);
  return cardinality(v_gates);
end
$$;

comment on function runledger._time_out_gates(integer, timestamptz) is
  'End open gates whose time has run out, by their on_timeout; returns how many.';
