create or replace function runledger._check_workflow(
  workflow_type text, metadata jsonb, idempotency_key text, active_key text)
returns void
language plpgsql stable
as $$
begin
  if not runledger._is_name(_check_workflow.workflow_type, runledger._limit('name_bytes')) then
    perform runledger._raise('workflow.invalid_dag_workflow_type_blank');
  elsif _check_workflow.idempotency_key is not null
    and not runledger._is_name(_check_workflow.idempotency_key, runledger._limit('key_bytes')) then
    perform runledger._raise('workflow.invalid_dag_idempotency_key_blank');
  elsif _check_workflow.active_key is not null
    and not runledger._is_name(_check_workflow.active_key, runledger._limit('key_bytes')) then
    perform runledger._raise('workflow.invalid_dag_active_key_blank');
  end if;
  perform runledger._checked_json(
    _check_workflow.metadata, runledger._limit('metadata_bytes'), 'metadata');
  if num_nonnulls(_check_workflow.idempotency_key, _check_workflow.active_key) > 0 then
    perform runledger._require_read_committed('workflow.unsupported_isolation');
  end if;
end
$$;

comment on function runledger._check_workflow(text, jsonb, text, text) is
  'Raise unless these are proper arguments of enqueue_workflow.';
