create or replace function runledger._move_mark(
  mark runledger._mark, priority integer, due_at timestamptz, id uuid)
returns runledger._mark
language sql immutable parallel safe
as $$
  select case
    when id is null or cardinality((mark).ids) >= runledger._limit('priorities_marked') then mark
    else row((mark).scope, (mark).looked_at, (mark).look_took, (mark).priorities || priority,
             (mark).due_ats || due_at, (mark).ids || id)::runledger._mark end
$$;

comment on function runledger._move_mark(runledger._mark, integer, timestamptz, uuid) is
  'The mark with one more priority, as long as there is room.';
