create or replace function runledger._prune_horizon(age interval, now timestamptz)
returns timestamptz
language sql immutable parallel safe
as $$
  select case when _prune_horizon.age > '0' then _prune_horizon.now - _prune_horizon.age
              else '-infinity' end
$$;

comment on function runledger._prune_horizon(interval, timestamptz) is
  'What ended before then is that old; nothing is for an age of 0.';
