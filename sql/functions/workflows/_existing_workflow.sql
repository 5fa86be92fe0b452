-- The run that already stands for a request: by its idempotency key, else the live holder of its
-- active key. "tenant = X or both global" is written out: only a plain equality uses the indexes.
create or replace function runledger._existing_workflow(
  workflow_type text, organization_id uuid, idempotency_key text, active_key text, request jsonb)
returns runledger.enqueued_workflow
language plpgsql volatile
as $$
declare
  v_run runledger.workflow_runs;
begin
  if _existing_workflow.idempotency_key is null then
    null;
  elsif _existing_workflow.organization_id is null then
    select r.* into v_run from runledger.workflow_runs as r
     where r.workflow_type = _existing_workflow.workflow_type and r.organization_id is null
       and r.idempotency_key = _existing_workflow.idempotency_key;
  else
    select r.* into v_run from runledger.workflow_runs as r
     where r.workflow_type = _existing_workflow.workflow_type
       and r.organization_id = _existing_workflow.organization_id
       and r.idempotency_key = _existing_workflow.idempotency_key;
  end if;
  if v_run.id is not null then
    if not runledger._same_request(v_run.enqueue_request, _existing_workflow.request) then
      perform runledger._raise('workflow.enqueue_conflicting_retry',
        jsonb_build_object('workflow_run_id', v_run.id, 'status', v_run.status));
    end if;
    return row(v_run.id, 'EXISTING', v_run.status)::runledger.enqueued_workflow;
  end if;
  if _existing_workflow.active_key is null then
    return null;
  elsif _existing_workflow.organization_id is null then
    select r.* into v_run from runledger.workflow_runs as r
     where r.active_key_held and r.organization_id is null
       and r.active_key = _existing_workflow.active_key;
  else
    select r.* into v_run from runledger.workflow_runs as r
     where r.active_key_held and r.organization_id = _existing_workflow.organization_id
       and r.active_key = _existing_workflow.active_key;
  end if;
  return row(v_run.id, 'EXISTING_ACTIVE', v_run.status)::runledger.enqueued_workflow;
end
$$;

comment on function runledger._existing_workflow(text, uuid, text, text, jsonb) is
  'The run with that idempotency key or active key, workflow_run_id NULL if there is none.';
