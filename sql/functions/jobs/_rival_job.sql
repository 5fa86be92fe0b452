-- Nothing was inserted: somebody else has just used the key, or the type takes no new jobs.
create or replace function runledger._rival_job(
  job_type text, organization_id uuid, idempotency_key text, request jsonb)
returns runledger.enqueued_job
language plpgsql volatile
as $$
declare
  v_existing runledger.enqueued_job;
begin
  if _rival_job.idempotency_key is not null then
    v_existing := runledger._existing_job(_rival_job.job_type, _rival_job.organization_id,
      _rival_job.idempotency_key, _rival_job.request);
    if v_existing.job_id is not null then
      return v_existing;
    end if;
    perform runledger._enabled_definition(_rival_job.job_type);
    perform runledger._raise('job.idempotency_conflict_missing_existing');
  end if;
  -- Without a key it was the type, also if somebody has enabled it since.
  perform runledger._raise('job.definition_not_found_or_disabled',
    jsonb_build_object('job_type', left(_rival_job.job_type, 200)));
end
$$;

comment on function runledger._rival_job(text, uuid, text, jsonb) is
  'The job that has just taken the key of an enqueue; raises why there is none.';
