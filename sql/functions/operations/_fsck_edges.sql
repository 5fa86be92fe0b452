-- W9: an edge lies within one run, both its ends exist, and the prerequisite comes first in the
-- order: so there is no cycle. Foreign keys hold the first half while they stand.
create or replace function runledger._fsck_edges(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_edges.workflow_run_id;
begin
  return query
  select 'W9', 'ERROR', 'step ' || e.dependent_step_id, jsonb_build_object(
           'workflow_run_id', e.workflow_run_id, 'prerequisite_step_id', e.prerequisite_step_id,
           'prerequisite_run', p.workflow_run_id, 'dependent_run', d.workflow_run_id,
           'ordinals', jsonb_build_array(p.ordinal, d.ordinal), 'violations', count(*) over ()),
         case when p.id is null or d.id is null then format(
             'delete from runledger.workflow_step_dependencies where workflow_run_id = %L'
             ' and prerequisite_step_id = %L and dependent_step_id = %L', e.workflow_run_id,
             e.prerequisite_step_id, e.dependent_step_id)
           when p.workflow_run_id <> d.workflow_run_id then format(
             'delete from runledger.workflow_step_dependencies where workflow_run_id = %L'
             ' and prerequisite_step_id = %L and dependent_step_id = %L;'
             ' select runledger._repair_run(%L)', e.workflow_run_id, e.prerequisite_step_id,
             e.dependent_step_id, d.workflow_run_id)
           when p.workflow_run_id <> e.workflow_run_id then format(
             'update runledger.workflow_step_dependencies set workflow_run_id = %L'
             ' where workflow_run_id = %L and prerequisite_step_id = %L'
             ' and dependent_step_id = %L', p.workflow_run_id, e.workflow_run_id,
             e.prerequisite_step_id, e.dependent_step_id)
           else runledger._fsck_look_at_run(e.workflow_run_id) end
    from runledger.workflow_step_dependencies as e
    left join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
    left join runledger.workflow_steps as d on d.id = e.dependent_step_id
   where (v_run is null or e.workflow_run_id = v_run)
     and (p.workflow_run_id is distinct from e.workflow_run_id
          or d.workflow_run_id is distinct from e.workflow_run_id
          or p.ordinal >= d.ordinal)
   order by e.dependent_step_id, e.prerequisite_step_id limit _fsck_edges.max_rows;
end
$$;

comment on function runledger._fsck_edges(uuid, integer) is 'Invariant W9: the edges.';
