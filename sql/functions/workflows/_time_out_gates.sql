-- Gates whose time has run out, picked without locks; their runs are locked in order, and those
-- that somebody holds are left for the next pass. When they have most of the oldest gates, look
-- further behind them, or no gate of any other run would ever be ended.
create or replace function runledger._time_out_gates(max_rows integer, now timestamptz)
returns bigint
language plpgsql volatile
as $$
declare
  v_depth integer := _time_out_gates.max_rows;
  v_runs uuid[];
  v_gates uuid[];
  v_held uuid[];
begin
  for v_round in 1..5 loop
    v_gates := array(
      select s.id from runledger.workflow_steps as s
       where s.status = 'WAITING_FOR_EXTERNAL' and s.gate_expires_at <= _time_out_gates.now
       order by s.gate_expires_at limit v_depth);
    v_runs := array(
      select r.id from runledger.workflow_runs as r
       where r.id in (select s.workflow_run_id from runledger.workflow_steps as s
                       where s.id = any (v_gates))
       order by r.id for no key update skip locked);
    v_held := array(
      select s.id from runledger.workflow_steps as s
       where s.id = any (v_gates) and s.workflow_run_id = any (v_runs)
         and s.status = 'WAITING_FOR_EXTERNAL' and s.gate_expires_at <= _time_out_gates.now
       order by s.gate_expires_at limit _time_out_gates.max_rows);
    exit when cardinality(v_held) * 2 >= _time_out_gates.max_rows
      or cardinality(v_gates) < v_depth;
    v_depth := v_depth * 4;
  end loop;
  if cardinality(v_held) > 0 then
    perform runledger._close_gates(v_held, null, null, 'GATE_TIMEOUT', 'workflow.gate_timeout',
      'the gate was not completed in time', _time_out_gates.now);
  end if;
  return cardinality(v_held);
end
$$;

comment on function runledger._time_out_gates(integer, timestamptz) is
  'End open gates whose time has run out, by their on_timeout; returns how many.';
