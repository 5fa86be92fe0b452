create or replace function runledger._decode_steps(steps jsonb)
returns runledger._step_item[]
language plpgsql volatile
as $$
declare
  v_items runledger._step_item[];
begin
  if _decode_steps.steps is null or jsonb_typeof(_decode_steps.steps) <> 'array'
    or jsonb_array_length(_decode_steps.steps) = 0 then
    perform runledger._raise('workflow.invalid_dag_empty');
  elsif jsonb_array_length(_decode_steps.steps) > runledger._limit('workflow_steps')
    or runledger._json_bytes(_decode_steps.steps) > runledger._limit('batch_bytes') then
    perform runledger._raise('workflow.invalid_dag_dependency_count_overflow', jsonb_build_object(
      'max_steps', runledger._limit('workflow_steps'),
      'max_bytes', runledger._limit('batch_bytes')));
  end if;
  v_items := array(
    select runledger._decode_step(s.item, s.nth::integer)
      from jsonb_array_elements(_decode_steps.steps) with ordinality as s(item, nth)
     order by s.nth);
  if (select sum(cardinality(i.after_success) + cardinality(i.after_terminal))
        from unnest(v_items) as i) > runledger._limit('run_edges') then
    perform runledger._raise('workflow.invalid_dag_dependency_count_overflow',
      jsonb_build_object('max_edges', runledger._limit('run_edges')));
  end if;
  -- A generic plan, or one where statistics know of small runs only, joins steps in nested loops:
  -- right for a few of them, which cost more to plan than to run, and ruinous for ten thousand.
  -- Large lists are planned by their size and joined by hash; the public functions put the settings
  -- back (SET clause).
  if cardinality(v_items) > 100 then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
    perform set_config('enable_nestloop', 'off', true);
  end if;
  return v_items;
end
$$;

comment on function runledger._decode_steps(jsonb) is
  'The steps of a workflow, decoded; raises only if there are none or far too many.';
