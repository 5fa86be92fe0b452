create or replace function runledger._decode_log(item jsonb, ordinal integer)
returns runledger._log_entry
language plpgsql stable
as $$
declare
  v_entry runledger._log_entry;
  v_given jsonb;
begin
  v_entry.ordinal := _decode_log.ordinal;
  if jsonb_typeof(_decode_log.item) is distinct from 'object' then
    v_entry.code := 'job.invalid_item';
    return v_entry;
  end if;
  v_given := jsonb_strip_nulls(_decode_log.item - 'payload');
  v_entry.job_id := runledger._as_uuid(v_given -> 'job_id');
  v_entry.lease_token := runledger._as_bigint(v_given -> 'lease_token');
  v_entry.level := runledger._as_text(v_given -> 'level');
  v_entry.message := runledger._as_text(v_given -> 'message');
  v_entry.payload := coalesce(_decode_log.item -> 'payload', '{}');
  v_entry.code := case
    when not runledger._has_only(v_given, '{job_id,lease_token,level,message}')
      then 'job.unknown_field'
    when v_entry.job_id is null then 'job.invalid_id'
    when v_given ? 'lease_token' and v_entry.lease_token is null then 'job.invalid_tokens'
    when not runledger._is_name(v_entry.level, runledger._limit('name_bytes'))
      or not runledger._is_name(v_entry.message, runledger._limit('text_bytes'))
      then 'job.invalid_log'
    else runledger._json_problem(v_entry.payload, runledger._limit('log_payload_bytes')) end;
  return v_entry;
end
$$;

comment on function runledger._decode_log(jsonb, integer) is
  'One item of log_jobs, decoded and checked; never raises.';
