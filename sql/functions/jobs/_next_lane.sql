-- The same as _next_priority, by the lanes of the types: dearer by one probe per type, but
-- priorities that only jobs of other types have do not count.
create or replace function runledger._next_lane(
  job_types text[], below bigint, above bigint, after timestamptz)
returns integer
language sql stable
as $$
  select max(runledger._next_priority(t.job_type, _next_lane.below, _next_lane.above,
                                       _next_lane.after))
    from unnest(_next_lane.job_types) as t(job_type)
$$;

comment on function runledger._next_lane(text[], bigint, bigint, timestamptz) is
  'The highest priority between the bounds with a pending job of these types, or NULL.';
