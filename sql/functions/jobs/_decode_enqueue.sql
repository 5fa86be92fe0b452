-- One item of enqueue_jobs, decoded; what is wrong with it stands in code. A field that is JSON
-- null counts as left out, but for payload, which may be null.
create or replace function runledger._decode_enqueue(
  item jsonb, ordinal integer, granted text[], now timestamptz)
returns runledger._enqueue_item
language plpgsql stable
as $$
declare
  v_item runledger._enqueue_item;
  v_given jsonb;
begin
  v_item.ordinal := _decode_enqueue.ordinal;
  if jsonb_typeof(_decode_enqueue.item) is distinct from 'object' then
    v_item.code := 'job.invalid_item';
    return v_item;
  end if;
  v_given := jsonb_strip_nulls(_decode_enqueue.item - 'payload');
  v_item.job_type := runledger._as_text(v_given -> 'job_type');
  v_item.organization_id := runledger._as_uuid(v_given -> 'organization_id');
  v_item.payload := coalesce(_decode_enqueue.item -> 'payload', '{}');
  v_item.priority := runledger._as_integer(v_given -> 'priority');
  v_item.max_attempts := runledger._as_integer(v_given -> 'max_attempts');
  v_item.timeout_seconds := runledger._as_integer(v_given -> 'timeout_seconds');
  v_item.run_at := runledger._as_instant(v_given -> 'run_at');
  v_item.idempotency_key := runledger._as_text(v_given -> 'idempotency_key');
  v_item.stage := case when v_given ? 'stage' then runledger._as_text(v_given -> 'stage')
                       else 'queued' end;
  v_item.code := case
    when not runledger._has_only(v_given, '{job_type,organization_id,priority,max_attempts,'
      'timeout_seconds,run_at,idempotency_key,stage}')
      then 'job.unknown_field'
    when v_item.job_type is null then 'job.invalid_job_type'
    when not v_item.job_type = any (_decode_enqueue.granted) then 'access.job_type_not_granted'
    when v_given ? 'organization_id' and v_item.organization_id is null
      then 'job.invalid_organization_id'
    when v_given ? 'priority' and v_item.priority is null then 'job.invalid_priority'
    when v_given ? 'max_attempts' and v_item.max_attempts is null then 'job.invalid_max_attempts'
    when v_given ? 'timeout_seconds' and v_item.timeout_seconds is null then 'job.invalid_timeout'
    when v_given ? 'run_at' and v_item.run_at is null then 'job.invalid_run_at'
    when v_given ? 'idempotency_key' and v_item.idempotency_key is null
      then 'job.invalid_idempotency_key'
    else runledger._enqueue_problem(v_item.payload, v_item.max_attempts, v_item.timeout_seconds,
      v_item.run_at, v_item.idempotency_key, v_item.stage, _decode_enqueue.now) end;
  if v_item.code is null then
    v_item.id := runledger._uuidv7();
    if v_item.idempotency_key is not null then
      v_item.request := runledger._enqueue_request(v_item.payload, v_item.priority,
        v_item.max_attempts, v_item.timeout_seconds, v_item.run_at, v_item.stage);
    end if;
  end if;
  return v_item;
end
$$;

comment on function runledger._decode_enqueue(jsonb, integer, text[], timestamptz) is
  'One item of enqueue_jobs, decoded and checked; never raises. granted: the types the caller may '
  'enqueue, NULL for any.';
