-- W1: the counters of a step are a recount of its prerequisites. Everything else rests on it: a
-- step whose counter is too high waits for ever, one whose counter is too low runs too early.
-- Of a run that prune is taking away the edges go first: it is left out.
create or replace function runledger._fsck_step_counts(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_step_counts.workflow_run_id;
begin
  return query
  with recount as (
    select s.id, count(p.id)::integer as total,
           (count(*) filter (where p.finished_at is null and p.id is not null))::integer as pending,
           (count(*) filter (where e.release_mode = 'ON_SUCCESS'
                               and p.status in ('FAILED', 'CANCELED')))::integer as unsatisfied
      from runledger.workflow_steps as s
      left join runledger.workflow_step_dependencies as e on e.dependent_step_id = s.id
      left join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where (v_run is null or s.workflow_run_id = v_run)
       and not exists (select from runledger.workflow_runs as r
              where r.id = s.workflow_run_id and r.pruned_at is not null)
     group by s.id
  )
  select 'W1', 'ERROR', 'step ' || s.id, jsonb_build_object('workflow_run_id', s.workflow_run_id,
           'status', s.status,
           'stored', jsonb_build_array(s.dependency_count_total, s.dependency_count_pending,
             s.dependency_count_unsatisfied),
           'counted', jsonb_build_array(r.total, r.pending, r.unsatisfied),
           'violations', count(*) over ()),
         runledger._fsck_run_repair(s.workflow_run_id)
    from recount as r
    join runledger.workflow_steps as s on s.id = r.id
   where (s.dependency_count_total, s.dependency_count_pending, s.dependency_count_unsatisfied)
         <> (r.total, r.pending, r.unsatisfied)
   order by s.workflow_run_id, s.ordinal limit _fsck_step_counts.max_rows;
end
$$;

comment on function runledger._fsck_step_counts(uuid, integer) is
  'Invariant W1: the counters of a step.';
