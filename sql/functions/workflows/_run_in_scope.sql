create or replace function runledger._run_in_scope(workflow_run_id uuid, organization_id uuid)
returns boolean
language plpgsql stable
as $$
begin
  return exists (
    select from runledger.workflow_runs as r
     where r.id = _run_in_scope.workflow_run_id and r.pruned_at is null
       and (_run_in_scope.organization_id is null
            or r.organization_id = _run_in_scope.organization_id));
end
$$;

comment on function runledger._run_in_scope(uuid, uuid) is
  'Whether there is a run to be read under that tenant (NULL asks for none); none that prune is '
  'taking away.';
