-- What a walk found in a priority, or that it found nothing there. Half of the room is kept for
-- priorities that gave something; one that cannot be remembered is not known to be swept.
create or replace function runledger._move_mark(
  mark runledger._mark, priority integer, picked runledger._pick, from_at timestamptz,
  from_id uuid)
returns runledger._mark
language sql immutable parallel safe
as $$
  select case
    when cardinality((mark).ids) >= runledger._limit('priorities_marked')
           / (case when (picked).ids is null then 2 else 1 end)
    then row((mark).scope, (mark).looked_at, (mark).look_took, null, (mark).priorities,
             (mark).due_ats, (mark).ids)::runledger._mark
    else row((mark).scope, (mark).looked_at, (mark).look_took, (mark).swept_at,
             (mark).priorities || priority,
             (mark).due_ats || coalesce((picked).due_ats[cardinality((picked).ids)], from_at),
             (mark).ids || coalesce((picked).ids[cardinality((picked).ids)], from_id)
             )::runledger._mark end
$$;

comment on function runledger._move_mark(
  runledger._mark, integer, runledger._pick, timestamptz, uuid) is
  'The mark with one more priority, as long as there is room.';
