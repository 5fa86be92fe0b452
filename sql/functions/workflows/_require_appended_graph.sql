-- Only the keys that the new steps name or use are fetched: an append must not read a large run.
create or replace function runledger._require_appended_graph(
  run runledger.workflow_runs, steps runledger._step_item[])
returns runledger._step_order
language plpgsql stable
as $$
declare
  v_run constant runledger.workflow_runs := _require_appended_graph.run;
  v_sorted runledger._step_order;
begin
  if v_run.steps_total + cardinality(_require_appended_graph.steps)
    > runledger._limit('run_steps') then
    perform runledger._raise('workflow.invalid_dag_dependency_count_overflow',
      jsonb_build_object('max_steps', runledger._limit('run_steps')));
  end if;
  v_sorted := runledger._require_graph(_require_appended_graph.steps, array(
    select s.step_key
      from runledger.workflow_steps as s
      join (select distinct k
              from unnest(_require_appended_graph.steps) as i
             cross join lateral unnest(i.after_success || i.after_terminal || i.step_key) as k
           ) as used(step_key) on used.step_key = s.step_key
     where s.workflow_run_id = v_run.id));
  perform runledger._require_step_types(_require_appended_graph.steps);
  return v_sorted;
end
$$;

comment on function runledger._require_appended_graph(
  runledger.workflow_runs, runledger._step_item[]) is
  'The order of these steps; raises unless they can be added to the run.';
