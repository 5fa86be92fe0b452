create or replace function runledger._has_only(item jsonb, fields text[])
returns boolean
language sql immutable parallel safe
as $$
  select _has_only.item - _has_only.fields = '{}'
$$;

comment on function runledger._has_only(jsonb, text[]) is
  'Whether an object has no field beyond these.';
