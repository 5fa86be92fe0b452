-- The size of a JSON value as jsonb. pg_column_size alone tells the compressed size of a value that
-- was read from a table, up to a hundred times less; copied into an array it is unpacked, and an
-- object or array has eight bytes more there. The size must not depend on where a value comes from:
-- fsck asks the same about stored values.
create or replace function runledger._json_bytes(value jsonb)
returns bigint
language sql stable parallel safe
as $$
  select case when pg_column_compression(_json_bytes.value) is null
    then pg_column_size(_json_bytes.value)::bigint
    else pg_column_size(jsonb_build_array(_json_bytes.value))
      - case when jsonb_typeof(_json_bytes.value) in ('object', 'array') then 8 else 0 end end
$$;

comment on function runledger._json_bytes(jsonb) is
  'The size of a JSON value in bytes, however it is stored.';
