create or replace function runledger._without_nulls(item jsonb)
returns jsonb
language sql immutable parallel safe
as $$
  select coalesce(jsonb_object_agg(f.key, f.value), '{}')
    from jsonb_each(_without_nulls.item) as f
   where f.value <> 'null'
$$;

comment on function runledger._without_nulls(jsonb) is
  'An object without the fields that are null; nulls deeper in it stay.';
