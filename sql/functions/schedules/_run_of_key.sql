-- Two statements: "tenant = X or both global" in one would use neither index.
create or replace function runledger._run_of_key(
  workflow_type text, organization_id uuid, idempotency_key text)
returns uuid
language plpgsql stable
as $$
begin
  if _run_of_key.organization_id is null then
    return (select r.id from runledger.workflow_runs as r
             where r.workflow_type = _run_of_key.workflow_type and r.organization_id is null
               and r.idempotency_key = _run_of_key.idempotency_key);
  end if;
  return (select r.id from runledger.workflow_runs as r
           where r.workflow_type = _run_of_key.workflow_type
             and r.organization_id = _run_of_key.organization_id
             and r.idempotency_key = _run_of_key.idempotency_key);
end
$$;

comment on function runledger._run_of_key(text, uuid, text) is
  'The run with an idempotency key, or NULL.';
