-- W1-W16: workflow runs, their steps, edges and jobs.
create or replace function runledger._fsck_workflows(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_workflows.workflow_run_id;
  v_max constant integer := _fsck_workflows.max_rows;
begin
  return query select f.* from runledger._fsck_step_counts(v_run, v_max) as f;
  return query select f.* from runledger._fsck_steps(v_run, v_max) as f;
  return query select f.* from runledger._fsck_step_links(v_run, v_max) as f;
  return query select f.* from runledger._fsck_step_jobs(v_run, v_max) as f;
  return query select f.* from runledger._fsck_edges(v_run, v_max) as f;
  return query select f.* from runledger._fsck_runs(v_run, v_max) as f;
  return query select f.* from runledger._fsck_run_keys(v_run, v_max) as f;
  return query select f.* from runledger._fsck_workflow_values(v_run, v_max) as f;
end
$$;

comment on function runledger._fsck_workflows(uuid, integer) is
  'Invariants W1 to W16: workflow runs, steps, edges and their jobs.';
