create or replace function runledger._as_text(value jsonb)
returns text
language sql immutable parallel safe
as $$
  select case when jsonb_typeof(_as_text.value) = 'string' then _as_text.value #>> '{}' end
$$;

comment on function runledger._as_text(jsonb) is
  'A string out of a batch item, NULL if it is none.';
