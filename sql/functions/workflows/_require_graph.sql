-- Raise unless a list of steps is sound. The code is that of the first problem in the order in
-- which error_codes() lists them; the detail has the first 100 problems.
create or replace function runledger._require_graph(
  steps runledger._step_item[], existing text[])
returns runledger._step_order
language plpgsql stable
as $$
declare
  v_sorted runledger._step_order;
  v_code text;
  v_count bigint;
  v_problems jsonb;
begin
  perform from runledger._graph_problems(_require_graph.steps, _require_graph.existing);
  if not found then
    v_sorted := runledger._sort_steps(_require_graph.steps);
    if v_sorted.cycle is null then
      return v_sorted;
    end if;
  end if;
  with problem as materialized (
    select p.* from runledger._workflow_problems(_require_graph.steps, _require_graph.existing) as p
  )
  select (select p.code from problem as p
            join runledger.error_codes() with ordinality as e(code, sqlstate, message, hint, place)
              on e.code = p.code
           order by e.place, p.ordinal limit 1),
         count(*),
         jsonb_agg(jsonb_build_object('ordinal', p.ordinal, 'step', p.step_key,
           'code', p.code, 'message', p.message)) filter (where p.nth <= 100)
    into v_code, v_count, v_problems
    from (select q.*, row_number() over () as nth from problem as q) as p;
  perform runledger._raise(v_code, jsonb_build_object('count', v_count, 'problems', v_problems));
end
$$;

comment on function runledger._require_graph(runledger._step_item[], text[]) is
  'The order of sound steps; raises workflow.invalid_dag_* with every problem of others.';
