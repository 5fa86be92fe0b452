create or replace function runledger._add_edges(
  workflow_run_id uuid, steps runledger._step_item[], now timestamptz)
returns void
language plpgsql volatile
as $$
begin
  insert into runledger.workflow_step_dependencies
    (workflow_run_id, prerequisite_step_id, dependent_step_id, release_mode, created_at)
  select _add_edges.workflow_run_id, p.id, d.id, e.mode, _add_edges.now
    from unnest(_add_edges.steps) as i
   cross join lateral (
     select k, 'ON_SUCCESS'::runledger.workflow_dependency_release_mode
       from unnest(i.after_success) as k
     union all
     select k, 'ON_TERMINAL' from unnest(i.after_terminal) as k) as e(step_key, mode)
    join runledger.workflow_steps as p
      on p.workflow_run_id = _add_edges.workflow_run_id and p.step_key = e.step_key
    join runledger.workflow_steps as d
      on d.workflow_run_id = _add_edges.workflow_run_id and d.step_key = i.step_key;
end
$$;

comment on function runledger._add_edges(uuid, runledger._step_item[], timestamptz) is
  'Insert the edges of steps that were just added to a run.';
