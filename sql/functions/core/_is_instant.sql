-- Without an offset it would depend on the time zone of the session, so one is demanded.
create or replace function runledger._is_instant(value text)
returns boolean
language sql immutable parallel safe
as $$
  select octet_length(_is_instant.value) <= 64 and _is_instant.value
    ~ '^[0-9]{4,5}-[0-9]{2}-[0-9]{2}[ T][0-9:.]+ ?(Z|z|[+-][0-9:]{2,9})$'
$$;

comment on function runledger._is_instant(text) is
  'Whether it has the shape of an instant with an offset; its numbers may still be none.';
