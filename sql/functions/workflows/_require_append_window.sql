create or replace function runledger._require_append_window(
  run runledger.workflow_runs, append_window text)
returns void
language plpgsql stable
as $$
declare
  v_run constant runledger.workflow_runs := _require_append_window.run;
  v_where constant jsonb := jsonb_build_object('workflow_run_id', v_run.id, 'status', v_run.status);
  v_gate runledger.workflow_steps;
begin
  if v_run.finished_at is not null then
    perform runledger._raise('workflow.append_terminal_run', v_where);
  end if;
  select s.* into v_gate
    from runledger.workflow_steps as s
   where s.workflow_run_id = v_run.id and s.step_key = _require_append_window.append_window;
  if not found then
    perform runledger._raise('workflow.append_window_missing', v_where);
  elsif v_gate.execution_kind <> 'EXTERNAL' then
    perform runledger._raise('workflow.append_window_not_external', v_where);
  elsif v_gate.status <> 'WAITING_FOR_EXTERNAL' then
    perform runledger._raise('workflow.append_window_not_open',
      v_where || jsonb_build_object('gate_status', v_gate.status));
  end if;
end
$$;

comment on function runledger._require_append_window(runledger.workflow_runs, text) is
  'Raise unless that step is an open gate of a run that is not finished.';
