-- The outputs of the direct prerequisites of a step, for its worker. Above the limit they are left
-- out: one wide join must not make a claim as large as all its inputs; step_inputs pages them. What
-- counts is the length of their text; their stored size, which is cheaper to know, is asked first.
-- An output has at most payload_bytes of text, so a few of them need no measuring.
create or replace function runledger._step_inputs(step_id uuid, prerequisites integer)
returns jsonb
language plpgsql stable
as $$
declare
  v_most constant bigint := runledger._limit('inputs_bytes');
  v_bytes bigint;
begin
  if _step_inputs.prerequisites = 0 then
    return '{}';
  elsif _step_inputs.prerequisites * runledger._limit('payload_bytes') > v_most then
    select sum(pg_column_size(p.output)) into v_bytes
      from runledger.workflow_step_dependencies as e
      join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where e.dependent_step_id = _step_inputs.step_id;
    if v_bytes <= v_most then
      select sum(octet_length(p.output::text)) into v_bytes
        from runledger.workflow_step_dependencies as e
        join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
       where e.dependent_step_id = _step_inputs.step_id;
    end if;
    if v_bytes > v_most then
      return null;
    end if;
  end if;
  return (
    select jsonb_object_agg(p.step_key, p.output)
      from runledger.workflow_step_dependencies as e
      join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where e.dependent_step_id = _step_inputs.step_id);
end
$$;

comment on function runledger._step_inputs(uuid, integer) is
  'Prerequisite step_key -> output of a step with that many of them, or NULL when they are too '
  'large.';
