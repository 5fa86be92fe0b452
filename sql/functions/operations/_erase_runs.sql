-- Edges and appends first, then steps with their jobs, last the run. A job that somebody holds is
-- left for the next pass, and its run with it.
create or replace function runledger._erase_runs(
  caller text, horizon timestamptz, max_rows bigint)
returns bigint
language plpgsql volatile
as $$
declare
  v_runs uuid[] := array(
    select r.id from runledger.workflow_runs as r
     where r.pruned_at is not null
     order by r.id limit runledger._limit('prune_looks') / 10
       for update skip locked);
  v_left bigint := _erase_runs.max_rows;
  v_rows bigint;
begin
  if cardinality(v_runs) = 0 or v_left <= 0 then
    return 0;
  end if;
  with doomed as materialized (
    select e.workflow_run_id, e.prerequisite_step_id, e.dependent_step_id
      from runledger.workflow_step_dependencies as e
     where e.workflow_run_id = any (v_runs) limit v_left
  )
  delete from runledger.workflow_step_dependencies as e using doomed as d
   where e.workflow_run_id = d.workflow_run_id
     and e.prerequisite_step_id = d.prerequisite_step_id
     and e.dependent_step_id = d.dependent_step_id;
  get diagnostics v_rows = row_count;
  v_left := v_left - v_rows;
  with doomed as materialized (
    select m.workflow_run_id, m.mutation_key
      from runledger.workflow_run_mutations as m
     where m.workflow_run_id = any (v_runs) limit v_left
  )
  delete from runledger.workflow_run_mutations as m using doomed as d
   where m.workflow_run_id = d.workflow_run_id and m.mutation_key = d.mutation_key;
  get diagnostics v_rows = row_count;
  v_left := v_left - v_rows;
  if v_left > 0 then
    v_left := v_left - runledger._erase_steps(v_runs, _erase_runs.horizon, _erase_runs.caller,
      v_left);
  end if;
  if v_left > 0 then
    with doomed as materialized (
      select r.id from runledger.workflow_runs as r
       where r.id = any (v_runs)
         and not exists (select from runledger.workflow_steps as s where s.workflow_run_id = r.id)
       order by r.id limit v_left
    )
    delete from runledger.workflow_runs as r using doomed as d where r.id = d.id;
    get diagnostics v_rows = row_count;
    v_left := v_left - v_rows;
  end if;
  return _erase_runs.max_rows - v_left;
end
$$;

comment on function runledger._erase_runs(text, timestamptz, bigint) is
  'Take marked runs away, at most so many rows; returns how many went.';
