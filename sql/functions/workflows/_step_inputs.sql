-- The outputs of the direct prerequisites of a step, for its worker. Above the limit they are left
-- out: one wide join must not make a claim as large as all its inputs; step_inputs pages them. What
-- counts is the length of their text; their stored size, which is cheaper to know, is asked first.
create or replace function runledger._step_inputs(step_id uuid)
returns table (inputs jsonb, is_omitted boolean)
language plpgsql stable strict
as $$
begin
  return query
  with prerequisite as (
    select p.step_key, p.output
      from runledger.workflow_step_dependencies as e
      join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where e.dependent_step_id = _step_inputs.step_id
  ), stored as materialized (
    select coalesce(sum(pg_column_size(p.output)), 0) as bytes from prerequisite as p
  ), total as materialized (
    select case when s.bytes > runledger._limit('inputs_bytes') then s.bytes
                else coalesce((select sum(octet_length(p.output::text))
                                 from prerequisite as p), 0) end as bytes
      from stored as s
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
