-- The outputs of the direct prerequisites of a step, for its worker. Above the limit they are left
-- out: one wide join must not make a claim as large as all its inputs; step_inputs pages them.
create or replace function runledger._step_inputs(step_id uuid)
returns table (inputs jsonb, is_omitted boolean)
language plpgsql stable
as $$
begin
  return query
  with prerequisite as (
    select p.step_key, p.output
      from runledger.workflow_step_dependencies as e
      join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where e.dependent_step_id = _step_inputs.step_id
  ), total as (
    select coalesce(sum(pg_column_size(p.output)), 0) as bytes from prerequisite as p
  )
  select case when t.bytes <= runledger._limit('inputs_bytes') then (
           select coalesce(jsonb_object_agg(p.step_key, p.output), '{}') from prerequisite as p)
             end,
         t.bytes > runledger._limit('inputs_bytes')
    from total as t;
end
$$;

comment on function runledger._step_inputs(uuid) is
  'Prerequisite step_key -> output, or NULL and is_omitted when they are too large.';
