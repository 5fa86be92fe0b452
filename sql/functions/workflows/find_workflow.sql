-- The run of an idempotency key. A key belongs to one type and one tenant, or to none: here the
-- tenant is that very one, and NULL means the runs without a tenant, not any.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing; no row if the key is not in use there.
create or replace function runledger.find_workflow(
  workflow_type text, idempotency_key text, organization_id uuid default null)
returns setof runledger.workflow_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
begin
  -- Two statements for two indexes: keys with a tenant and keys without.
  if find_workflow.organization_id is null then
    return query
    select s.* from runledger.workflow_runs as r
      join runledger._workflow_summaries as s on s.workflow_run_id = r.id
     where r.workflow_type = find_workflow.workflow_type
       and r.idempotency_key = find_workflow.idempotency_key and r.organization_id is null;
  else
    return query
    select s.* from runledger.workflow_runs as r
      join runledger._workflow_summaries as s on s.workflow_run_id = r.id
     where r.workflow_type = find_workflow.workflow_type
       and r.idempotency_key = find_workflow.idempotency_key
       and r.organization_id = find_workflow.organization_id;
  end if;
end
$$;

comment on function runledger.find_workflow(text, text, uuid) is
  'The run that was started under an idempotency key, or no row. The scope is exact, as at '
  'enqueue: without organization_id the runs of no tenant are meant, not those of any.';
