create or replace function runledger._contains(value text, part text)
returns boolean
language sql immutable parallel safe
as $$
  select strpos(lower(_contains.value), lower(_contains.part)) > 0
$$;

comment on function runledger._contains(text, text) is
  'Whether the letters stand in the value, upper and lower case alike; nothing is a wildcard.';
