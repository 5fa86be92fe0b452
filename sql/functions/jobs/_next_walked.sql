-- The priority that a walk comes to after one: a marked one, or one before it.
create or replace function runledger._next_walked(
  job_types text[], lane text, by_lanes boolean, below bigint, marked integer, after timestamptz)
returns integer
language plpgsql stable
as $$
begin
  return coalesce(case when _next_walked.by_lanes
      then runledger._next_lane(_next_walked.job_types, _next_walked.below,
             coalesce(_next_walked.marked, -2147483649), _next_walked.after)
      else runledger._next_priority(_next_walked.lane, _next_walked.below,
             coalesce(_next_walked.marked, -2147483649), _next_walked.after) end,
    _next_walked.marked);
end
$$;

comment on function runledger._next_walked(text[], text, boolean, bigint, integer, timestamptz) is
  'The next priority of a walk through the queue, or NULL at its end.';
