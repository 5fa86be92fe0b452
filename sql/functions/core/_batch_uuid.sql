-- Time-ordered uuids of one batch out of a single fresh one: drawing each from the server may cost
-- more than the row. Its first eight bytes (time and version), then the place in the batch (14
-- bits, so ids rise with it up to 16383), then 48 bits of a hash of the place and of the fresh
-- uuid, whose random half nobody sees.
create or replace function runledger._batch_uuid(base uuid, nth integer)
returns uuid
language sql immutable parallel safe
as $$
  select (left(_batch_uuid.base::text, 19) || to_hex(32768 + (_batch_uuid.nth & 16383)) || '-'
    || left(encode(sha256((_batch_uuid.base::text || _batch_uuid.nth::text)::bytea), 'hex'), 12)
  )::uuid
$$;

comment on function runledger._batch_uuid(uuid, integer) is
  'The uuid of version 7 of the item nth of a batch.';
