-- Whoever drops events asks this first: what is not counted yet would never be.
create or replace function runledger._rolled_up_to()
returns bigint
language sql stable
as $$
  select coalesce((select u.rolled_up_to from runledger.upkeep_state as u), 0)
$$;

comment on function runledger._rolled_up_to() is
  'Events with ids above this one are not in the metrics yet and must not be dropped.';
