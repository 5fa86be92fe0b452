-- The first ready jobs of one priority, locked, in order, from a position on. What it costs depends
-- on max_jobs and the number of types, never on how many rows are ready, delayed, finished or
-- unhandled.
create or replace function runledger._lock_ready(
  job_types text[], priority integer, from_at timestamptz, from_id uuid, max_jobs integer,
  now timestamptz)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_until_at timestamptz;
  v_until_id uuid;
  v_pick runledger._pick;
begin
  if cardinality(_lock_ready.job_types) = 1 then
    return runledger._lock_lane(_lock_ready.job_types[1], _lock_ready.priority,
      _lock_ready.from_at, _lock_ready.from_id, _lock_ready.max_jobs, _lock_ready.now);
  end if;
  select q.next_run_at, q.id into v_until_at, v_until_id
    from runledger.job_queue as q
   where q.status = 'PENDING' and q.attempt >= 0 and q.priority = _lock_ready.priority
     and q.next_run_at <= _lock_ready.now
     and (q.next_run_at, q.id) > (_lock_ready.from_at, _lock_ready.from_id)
   order by q.next_run_at, q.id
  offset _lock_ready.max_jobs * 2 + 64 limit 1;
  v_pick := runledger._lock_window(_lock_ready.job_types, _lock_ready.priority,
    _lock_ready.from_at, _lock_ready.from_id, coalesce(v_until_at, _lock_ready.now),
    coalesce(v_until_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'), _lock_ready.max_jobs);
  if v_until_at is not null
    and coalesce(cardinality(v_pick.ids), 0) < _lock_ready.max_jobs then
    v_pick := runledger._lock_lanes(_lock_ready.job_types, _lock_ready.priority,
      _lock_ready.from_at, _lock_ready.from_id, _lock_ready.max_jobs, _lock_ready.now);
  end if;
  return v_pick;
end
$$;

comment on function runledger._lock_ready(
  text[], integer, timestamptz, uuid, integer, timestamptz) is
  'Lock the first ready jobs of some types and one priority behind a position.';
