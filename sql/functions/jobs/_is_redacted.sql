create or replace function runledger._is_redacted(payload jsonb)
returns boolean
language sql immutable parallel safe
as $$
  select _is_redacted.payload = '{"_redacted": true}'
$$;

comment on function runledger._is_redacted(jsonb) is
  'Whether redact_job has erased this payload: then there is nothing left to run on.';
