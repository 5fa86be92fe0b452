-- The lanes of several types, merged in claim order: candidates are read without locks, then
-- locked. Others may hold some of them, so more are read than wanted, and again more if that was
-- not enough, as long as there are more: a session that hangs may hold all that one claim can take.
create or replace function runledger._lock_lanes(
  job_types text[], priority integer, from_at timestamptz, from_id uuid, max_jobs integer,
  now timestamptz)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_pick runledger._pick;
  v_depth integer := _lock_lanes.max_jobs;
  v_read bigint;
begin
  for v_round in 1..7 loop
    with candidate as materialized (
      select c.id
        from unnest(_lock_lanes.job_types) as t(job_type)
       cross join lateral (
         select q.id, q.next_run_at
           from runledger.job_queue as q
          where q.status = 'PENDING' and q.job_type = t.job_type
            and q.priority = _lock_lanes.priority and q.next_run_at <= _lock_lanes.now
            and (q.next_run_at, q.id) > (_lock_lanes.from_at, _lock_lanes.from_id)
          order by q.next_run_at, q.id limit v_depth) as c
       order by c.next_run_at, c.id limit v_depth
    ), picked as materialized (
      select q.id, q.next_run_at, q.ctid as place
        from candidate as c
        join runledger.job_queue as q on q.id = any (array[c.id])
       where coalesce(q.status, 'LEASED') = 'PENDING' and q.next_run_at <= _lock_lanes.now
       order by q.next_run_at, q.id
       limit _lock_lanes.max_jobs
         for update of q skip locked
    )
    select array_agg(_lock_lanes.priority), array_agg(p.next_run_at), array_agg(p.id),
           array_agg(p.place), (select count(*) from candidate)
      into v_pick.priorities, v_pick.due_ats, v_pick.ids, v_pick.places, v_read
      from picked as p;
    exit when cardinality(v_pick.ids) = _lock_lanes.max_jobs or v_read < v_depth
      or v_depth >= greatest(_lock_lanes.max_jobs * 256, 4 * runledger._limit('max_jobs'));
    v_depth := v_depth * 4;
  end loop;
  return v_pick;
end
$$;

comment on function runledger._lock_lanes(
  text[], integer, timestamptz, uuid, integer, timestamptz) is
  'Lock the first ready jobs of several types and one priority by their own lanes.';
