create or replace function runledger._run_in_scope(workflow_run_id uuid, organization_id uuid)
returns boolean
language plpgsql stable
as $$
begin
  return _run_in_scope.organization_id is null or exists (
    select from runledger.workflow_runs as r
     where r.id = _run_in_scope.workflow_run_id
       and r.organization_id = _run_in_scope.organization_id);
end
$$;

comment on function runledger._run_in_scope(uuid, uuid) is
  'Whether a run may be read under that tenant; NULL asks for no tenant.';
