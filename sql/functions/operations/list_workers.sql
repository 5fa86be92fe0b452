-- Who works here: the workers that registered, and any others that hold leases.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_workers(
  job_type text default null, after_worker text default null, max_rows integer default 100)
returns setof runledger.worker_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
begin
  perform runledger._check_count(list_workers.max_rows, 'max_rows', 'job.invalid_pagination');
  return query
  select t.worker_id,
         case when w.worker_id is null then 'unknown'
              when t.seen_at < v_now - interval '3 minutes' then 'silent'
              when w.idle_until > v_now then 'idle'
              else 'busy' end,
         w.job_types, w.max_jobs, coalesce(l.leases, 0), w.role_name, w.registered_at, t.seen_at,
         w.idle_until
    from runledger.workers as w
    full join (
      select q.worker_id, count(*) as leases, max(q.last_heartbeat_at) as seen_at
        from runledger.job_queue as q
       where q.status = 'LEASED' and q.lease_token is not null and q.lease_expires_at > v_now
       group by q.worker_id) as l on l.worker_id = w.worker_id
   cross join lateral (
     select coalesce(w.worker_id, l.worker_id) as worker_id,
            greatest(w.last_seen_at, l.seen_at) as seen_at) as t
   where t.worker_id > coalesce(list_workers.after_worker, '')
     and (list_workers.job_type is null or list_workers.job_type = any (w.job_types))
   order by t.worker_id limit list_workers.max_rows;
end
$$;

comment on function runledger.list_workers(text, text, integer) is
  'The workers, ordered by name: state idle, busy, silent (not heard of for three minutes) or '
  'unknown (holds leases and never registered), and how many live leases each holds. job_type: '
  'those that handle it. For the next page give the last worker_id as after_worker. At most 1000 '
  'rows a page.';
