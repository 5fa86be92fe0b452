-- One type has a lane of its own in the index: every row it meets counts.
create or replace function runledger._lock_lane(
  job_type text, priority integer, from_at timestamptz, from_id uuid, max_jobs integer,
  now timestamptz)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_pick runledger._pick;
begin
  with picked as materialized (
    select q.id, q.next_run_at, q.ctid as place
      from runledger.job_queue as q
     where q.status = 'PENDING' and q.job_type = _lock_lane.job_type
       and q.priority = _lock_lane.priority and q.next_run_at <= _lock_lane.now
       and (q.next_run_at, q.id) > (_lock_lane.from_at, _lock_lane.from_id)
     order by q.next_run_at, q.id
     limit _lock_lane.max_jobs
       for update skip locked
  )
  select array_agg(_lock_lane.priority), array_agg(p.next_run_at), array_agg(p.id),
         array_agg(p.place) into v_pick
    from picked as p;
  return v_pick;
end
$$;

comment on function runledger._lock_lane(text, integer, timestamptz, uuid, integer, timestamptz) is
  'Lock the first ready jobs of one type and priority behind a position, skipping locked ones.';
