create or replace function runledger._integer_field(item jsonb, field text, fallback integer)
returns integer
language sql immutable parallel safe
as $$
  select case when _integer_field.item ? _integer_field.field
    then coalesce(runledger._as_integer(_integer_field.item -> _integer_field.field), -1)
    else _integer_field.fallback end
$$;

comment on function runledger._integer_field(jsonb, text, integer) is
  'A field that must not be negative: its value, -1 if it is no integer, or the fallback if it is '
  'not there.';
