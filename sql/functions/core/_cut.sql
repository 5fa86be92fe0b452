create or replace function runledger._cut(value text, max_bytes bigint)
returns text
language sql immutable parallel safe
as $$
  select case when octet_length(_cut.value) <= _cut.max_bytes then _cut.value
              else left(_cut.value, (_cut.max_bytes / 4)::integer - 1) || '...' end
$$;

comment on function runledger._cut(text, bigint) is
  'A text cut to at most that many bytes, with dots at its end.';
