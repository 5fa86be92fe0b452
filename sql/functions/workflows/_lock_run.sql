create or replace function runledger._lock_run(run_id uuid, organization_id uuid)
returns runledger.workflow_runs
language plpgsql volatile
as $$
declare
  v_run runledger.workflow_runs;
begin
  select r.* into v_run
    from runledger.workflow_runs as r
   where r.id = _lock_run.run_id and r.pruned_at is null
     and (_lock_run.organization_id is null or r.organization_id = _lock_run.organization_id)
     for no key update;
  if not found then
    perform runledger._raise('workflow.run_not_found',
      jsonb_build_object('workflow_run_id', _lock_run.run_id));
  end if;
  return v_run;
end
$$;

comment on function runledger._lock_run(uuid, uuid) is
  'The locked run; raises workflow.run_not_found, also for another tenant.';
