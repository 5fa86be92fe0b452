create or replace function runledger._job_in_scope(job_id uuid, organization_id uuid)
returns boolean
language plpgsql stable
as $$
begin
  return _job_in_scope.organization_id is null or exists (
    select from runledger.job_queue as q
     where q.id = _job_in_scope.job_id
       and q.organization_id = _job_in_scope.organization_id);
end
$$;

comment on function runledger._job_in_scope(uuid, uuid) is
  'Whether a job may be read under that tenant: NULL asks for no tenant, and then what is left of '
  'a job that is gone may be read too.';
