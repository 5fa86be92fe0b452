-- Everything about one run but its steps.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing; no row if there is none, or if it belongs to another tenant.
create or replace function runledger.get_workflow(
  workflow_run_id uuid, organization_id uuid default null)
returns setof runledger.workflow_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_whole constant boolean := runledger._is_owner();
begin
  return query
  select r.id, r.workflow_type, r.organization_id, r.status::text,
         case when v_whole then r.idempotency_key end, case when v_whole then r.active_key end,
         case when v_whole then r.metadata end, r.steps_total, r.steps_active, r.steps_waiting,
         r.steps_failed, r.steps_succeeded, r.result_step_key, case when v_whole then r.result end,
         r.status_reason, r.started_at, r.finished_at, r.created_at, r.updated_at
    from runledger.workflow_runs as r
   where r.id = get_workflow.workflow_run_id and r.pruned_at is null
     and (get_workflow.organization_id is null
          or r.organization_id = get_workflow.organization_id);
end
$$;

comment on function runledger.get_workflow(uuid, uuid) is
  'Everything about one run, or no row. Its keys, metadata and result are NULL unless the owner of '
  'the schema asks; workflow_result gives the result to operators and producers.';
