create or replace function runledger._horizon(now timestamptz)
returns timestamptz
language sql immutable parallel safe
as $$
  select _horizon.now + make_interval(days => runledger._limit('horizon_days')::integer)
$$;

comment on function runledger._horizon(timestamptz) is
  'The last instant that run_at, a delay or not_before may name.';
