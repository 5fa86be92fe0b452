create or replace function runledger._uuid_time(id uuid)
returns timestamptz
language sql immutable parallel safe
as $$
  select timestamptz 'epoch'
    + ('x0000' || left(replace(_uuid_time.id::text, '-', ''), 12))::bit(64)::bigint
      * interval '1 millisecond'
$$;

comment on function runledger._uuid_time(uuid) is
  'When a uuid of version 7 was drawn, to the millisecond.';
