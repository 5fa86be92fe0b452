-- The job that holds a key, for the same request; another request is a conflict. Two statements and
-- no "is not distinct from": only a plain equality uses the partial unique indexes.
create or replace function runledger._existing_job(
  job_type text, organization_id uuid, idempotency_key text, request jsonb)
returns runledger.enqueued_job
language plpgsql volatile
as $$
declare
  v_id uuid;
  v_status text;
  v_run_number integer;
  v_same boolean;
begin
  perform runledger._require_read_committed('job.idempotency_unsupported_isolation');
  if _existing_job.organization_id is null then
    select q.id, q.status, q.run_number,
           runledger._same_request(q.enqueue_request, _existing_job.request)
      into v_id, v_status, v_run_number, v_same
      from runledger.job_queue as q
     where q.job_type = _existing_job.job_type and q.organization_id is null
       and q.idempotency_key = _existing_job.idempotency_key;
  else
    select q.id, q.status, q.run_number,
           runledger._same_request(q.enqueue_request, _existing_job.request)
      into v_id, v_status, v_run_number, v_same
      from runledger.job_queue as q
     where q.job_type = _existing_job.job_type
       and q.organization_id = _existing_job.organization_id
       and q.idempotency_key = _existing_job.idempotency_key;
  end if;
  if v_id is not null and not v_same then
    perform runledger._raise('job.idempotency_conflict',
      jsonb_build_object('job_id', v_id, 'status', v_status));
  end if;
  return row(v_id, 'EXISTING', v_status, v_run_number)::runledger.enqueued_job;
end
$$;

comment on function runledger._existing_job(text, uuid, text, jsonb) is
  'The job with that idempotency key, job_id NULL if there is none; raises '
  'job.idempotency_conflict.';
