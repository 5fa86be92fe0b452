-- Several types: walk the common index, but no further than a position, because what lies there may
-- all belong to types nobody here handles.
create or replace function runledger._lock_window(
  job_types text[], priority integer, from_at timestamptz, from_id uuid,
  until_at timestamptz, until_id uuid, max_jobs integer)
returns runledger._pick
language plpgsql volatile
as $$
declare
  v_pick runledger._pick;
begin
  with picked as materialized (
    select q.id, q.next_run_at, q.ctid as place
      from runledger.job_queue as q
     where q.status = 'PENDING' and q.attempt >= 0 and q.priority = _lock_window.priority
       and (q.next_run_at, q.id) > (_lock_window.from_at, _lock_window.from_id)
       and (q.next_run_at, q.id) <= (_lock_window.until_at, _lock_window.until_id)
       and q.job_type = any (_lock_window.job_types)
     order by q.next_run_at, q.id
     limit _lock_window.max_jobs
       for update skip locked
  )
  select array_agg(_lock_window.priority), array_agg(p.next_run_at), array_agg(p.id),
         array_agg(p.place) into v_pick
    from picked as p;
  return v_pick;
end
$$;

comment on function runledger._lock_window(
  text[], integer, timestamptz, uuid, timestamptz, uuid, integer) is
  'Lock ready jobs of some types and one priority between two positions, skipping locked ones.';
