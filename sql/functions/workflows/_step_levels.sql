-- The steps of a run with their levels. Prerequisites have smaller ordinals, so one pass in that
-- order is enough: no recursion over the graph.
create or replace function runledger._step_levels(run_id uuid)
returns table (id uuid, ordinal integer, level integer, step_key text,
  organization_id uuid, status runledger.step_status, job_id uuid, status_reason text,
  created_at timestamptz, released_at timestamptz, started_at timestamptz, finished_at timestamptz)
language plpgsql stable
as $$
declare
  v_level integer[] := '{}';
  v_edge record;
begin
  for v_edge in
    select d.ordinal as target, p.ordinal as source
      from runledger.workflow_step_dependencies as e
      join runledger.workflow_steps as d on d.id = e.dependent_step_id
      join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where e.workflow_run_id = _step_levels.run_id
     order by d.ordinal, p.ordinal
  loop
    v_level[v_edge.target] := greatest(coalesce(v_level[v_edge.target], 0),
                                       coalesce(v_level[v_edge.source], 0) + 1);
  end loop;
  return query
  select s.id, s.ordinal, coalesce(v_level[s.ordinal], 0), s.step_key,
         s.organization_id, s.status, s.job_id, s.status_reason, s.created_at, s.released_at,
         s.started_at, s.finished_at
    from runledger.workflow_steps as s
   where s.workflow_run_id = _step_levels.run_id;
end
$$;

comment on function runledger._step_levels(uuid) is
  'The steps of a run, each with its level: 0, or one more than the highest of its prerequisites.';
