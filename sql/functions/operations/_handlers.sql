-- Who handles a job type: the workers that registered for it, and those that hold a job of it
-- without having done so. Live as in the view worker_status: heard of within three minutes. At most
-- 1001 leases are looked at, so on a larger fleet workers seem less busy than they are.
create or replace function runledger._handlers(job_type text, now timestamptz)
returns setof runledger._handler
language plpgsql stable
as $$
begin
  return query
  with held as materialized (
    select h.worker_id, count(*)::integer as jobs, max(h.last_heartbeat_at) as heard_at,
           bool_or(h.job_type = _handlers.job_type) as has_one
      from (select q.worker_id, q.job_type, q.last_heartbeat_at, q.lease_expires_at
              from runledger.job_queue as q
             where q.lease_token is not null limit 1001) as h
     where h.worker_id is not null and h.lease_expires_at > _handlers.now
     group by h.worker_id
  )
  select w.worker_id, true, w.job_types, w.max_jobs, least(coalesce(h.jobs, 0), w.max_jobs),
         greatest(w.last_seen_at, h.heard_at),
         greatest(w.last_seen_at, h.heard_at) >= _handlers.now - interval '3 minutes'
    from runledger.workers as w
    left join held as h on h.worker_id = w.worker_id
   where _handlers.job_type = any (w.job_types)
  union all
  select h.worker_id, false, null, null, h.jobs, h.heard_at, null
    from held as h
   where h.has_one
     and not exists (select from runledger.workers as w
                      where w.worker_id = h.worker_id
                        and _handlers.job_type = any (w.job_types));
end
$$;

comment on function runledger._handlers(text, timestamptz) is
  'The workers known to handle a job type.';
