-- A redacted request cannot be compared any more: then the key alone decides.
create or replace function runledger._same_request(stored jsonb, request jsonb)
returns boolean
language sql immutable parallel safe
as $$
  select _same_request.stored = _same_request.request or _same_request.stored ? '_redacted'
$$;

comment on function runledger._same_request(jsonb, jsonb) is
  'Whether a keyed request repeats the stored one.';
