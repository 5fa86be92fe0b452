-- Whether a batch to enqueue is what nearly every one is: no keys, and nothing wrong with any item.
-- Such a batch needs no decoded items. A bare item has no settings, so there is little to look at.
-- No leniency that _decode_enqueue does not have; where this is stricter the batch only goes the
-- long way.
create or replace function runledger._is_plain_batch(
  jobs jsonb, granted text[], now timestamptz)
returns boolean
language plpgsql stable
as $$
begin
  return (
    select bool_and(case
        when jsonb_typeof(j.item) <> 'object' or jsonb_typeof(j.item -> 'job_type') <> 'string'
          or not (j.item ->> 'job_type' = any (_is_plain_batch.granted)) then false
        when j.item - '{job_type,payload}'::text[] <> '{}' then
          j.item - '{job_type,payload,organization_id,priority,max_attempts,timeout_seconds,run_at,'
            'stage,idempotency_key}'::text[] = '{}'
          and j.item ->> 'idempotency_key' is null
          and (j.item ->> 'priority' is null or jsonb_typeof(j.item -> 'priority') = 'number'
            and (j.item ->> 'priority')::integer is not null)
          and (j.item ->> 'max_attempts' is null
            or jsonb_typeof(j.item -> 'max_attempts') = 'number'
            and (j.item ->> 'max_attempts')::integer
              between 1 and runledger._limit('max_attempts'))
          and (j.item ->> 'timeout_seconds' is null
            or jsonb_typeof(j.item -> 'timeout_seconds') = 'number'
            and (j.item ->> 'timeout_seconds')::integer
              between 1 and runledger._limit('timeout_seconds'))
          and (j.item ->> 'stage' is null or jsonb_typeof(j.item -> 'stage') = 'string'
            and runledger._is_name(j.item ->> 'stage', runledger._limit('name_bytes')))
          and (j.item ->> 'organization_id' is null
            or j.item ->> 'organization_id' like '________-____-____-____-____________'
            and (j.item ->> 'organization_id')::uuid is not null)
          and (j.item ->> 'run_at' is null or jsonb_typeof(j.item -> 'run_at') = 'string'
            and runledger._is_instant(j.item ->> 'run_at')
            and (j.item ->> 'run_at')::timestamptz > '1970-01-01'
            and (j.item ->> 'run_at')::timestamptz <= runledger._horizon(_is_plain_batch.now))
        else true end is true
      and (j.item -> 'payload' is null or runledger._json_problem(
        j.item -> 'payload', runledger._limit('payload_bytes')) is null))
      from jsonb_array_elements(_is_plain_batch.jobs) as j(item));
exception
  -- No integer, no uuid, no instant: the decoder says which.
  when data_exception then return false;
end
$$;

comment on function runledger._is_plain_batch(jsonb, text[], timestamptz) is
  'Whether all items of a batch can be enqueued and none has a key; their types are not looked at.';
