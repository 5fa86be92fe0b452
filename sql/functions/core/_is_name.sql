create or replace function runledger._is_name(value text, max_bytes bigint)
returns boolean
language sql immutable parallel safe
as $$
  select coalesce(
    octet_length(_is_name.value) <= _is_name.max_bytes and _is_name.value ~ '[^[:space:]]', false)
$$;

comment on function runledger._is_name(text, bigint) is
  'Not NULL, not blank, and at most max_bytes long.';
