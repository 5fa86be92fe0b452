-- Time-ordered uuids of one batch: drawing each from the server would cost more than the row. The
-- first eight bytes of a fresh one (time and version), then the place in the batch (14 bits, so ids
-- rise with it), then 48 bits of a hash of its place and of a secret of this batch.
create or replace function runledger._batch_uuid(base uuid, secret text, nth integer)
returns uuid
language sql immutable parallel safe
as $$
  select (left(_batch_uuid.base::text, 19) || to_hex(32768 + _batch_uuid.nth) || '-'
    || left(md5(_batch_uuid.secret || _batch_uuid.nth::text), 12))::uuid
$$;

comment on function runledger._batch_uuid(uuid, text, integer) is
  'The uuid of version 7 of the item nth (1 to 16383) of a batch.';
