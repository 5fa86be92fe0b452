create or replace function runledger._as_integer(value jsonb)
returns integer
language sql immutable parallel safe
as $$
  select case
    when runledger._as_bigint(_as_integer.value) between -2147483648 and 2147483647
    then runledger._as_bigint(_as_integer.value)::integer end
$$;

comment on function runledger._as_integer(jsonb) is
  'An integer of 32 bits out of a batch item, NULL if it is none.';
