create or replace function runledger._as_bigint(value jsonb)
returns bigint
language sql immutable parallel safe
as $$
  select case
    when jsonb_typeof(_as_bigint.value) = 'number'
     and (_as_bigint.value)::numeric between -9223372036854775808 and 9223372036854775807
     and (_as_bigint.value)::numeric = trunc((_as_bigint.value)::numeric)
    then (_as_bigint.value)::bigint end
$$;

comment on function runledger._as_bigint(jsonb) is
  'An integer of 64 bits out of a batch item, NULL if it is none.';
