-- Immutable, so that a call with a constant name is folded when a statement is planned.
create or replace function runledger._limit(name text)
returns bigint
language sql immutable parallel safe
as $$
  select l.value from runledger._limits() as l where l.name = _limit.name
$$;

comment on function runledger._limit(text) is 'One limit by name.';
