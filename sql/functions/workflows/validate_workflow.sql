-- Check a list of steps without starting anything.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL030 workflow.invalid_dag_empty, workflow.invalid_dag_dependency_count_overflow.
create or replace function runledger.validate_workflow(steps jsonb)
returns setof runledger.workflow_problem
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = auto
set enable_nestloop = on
as $$
begin
  return query
    select p.*
      from runledger._workflow_problems(
             runledger._decode_steps(validate_workflow.steps), '{}') as p;
end
$$;

comment on function runledger.validate_workflow(jsonb) is
  'What is wrong with a list of steps (see enqueue_workflow): a row per problem, no row if it is '
  'sound. Does not look at job types; explain_workflow does.';
