-- How a run stands and, when it has succeeded, its result.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 workflow.run_not_found (also for another tenant).
create or replace function runledger.workflow_result(
  workflow_run_id uuid, organization_id uuid default null)
returns runledger.workflow_outcome
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_outcome runledger.workflow_outcome;
begin
  select r.id, r.status, r.finished_at is not null, r.result_step_key, r.result, r.finished_at
    into v_outcome
    from runledger.workflow_runs as r
   where r.id = workflow_result.workflow_run_id and r.pruned_at is null
     and (workflow_result.organization_id is null
          or r.organization_id = workflow_result.organization_id);
  if not found then
    perform runledger._raise('workflow.run_not_found',
      jsonb_build_object('workflow_run_id', workflow_result.workflow_run_id));
  end if;
  return v_outcome;
end
$$;

comment on function runledger.workflow_result(uuid, uuid) is
  'Status of a run, whether it is finished, and its result: the output of its result step, NULL '
  'unless it succeeded.';
