-- All that is wrong with decoded steps. A cycle is looked for only in a graph that is otherwise
-- sound.
create or replace function runledger._workflow_problems(
  steps runledger._step_item[], existing text[])
returns setof runledger.workflow_problem
language plpgsql stable
as $$
declare
  v_cycle integer[];
begin
  return query
    select p.* from runledger._graph_problems(_workflow_problems.steps,
                                              _workflow_problems.existing) as p;
  if found then
    return;
  end if;
  v_cycle := (runledger._sort_steps(_workflow_problems.steps)).cycle;
  if v_cycle is not null then
    return query
    select v_cycle[1], (_workflow_problems.steps[v_cycle[1]]).step_key,
           'workflow.invalid_dag_cycle',
           'steps wait for each other in a circle: ' || (
             select string_agg(left((_workflow_problems.steps[c.nth]).step_key, 60), ' -> '
                      order by c.place)
               from unnest(v_cycle[:20] || v_cycle[1]) with ordinality as c(nth, place))
           || case when cardinality(v_cycle) > 20 then ' (cut)' else '' end;
  end if;
end
$$;

comment on function runledger._workflow_problems(runledger._step_item[], text[]) is
  'All that is wrong with a list of decoded steps.';
