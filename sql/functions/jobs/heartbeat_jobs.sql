-- Extend all leases of a worker in one call, and learn which are canceled or lost.
--
-- Locks:  job_queue rows, skipping locked ones: a row that somebody is changing keeps its expiry
--         and does not delay the others. Never waits.
-- Writes: job_queue (HOT: no index covers what changes). No event.
-- Raises: RL010 job.invalid_tokens, job.invalid_lease_duration.
create or replace function runledger.heartbeat_jobs(
  job_ids uuid[], lease_tokens bigint[], lease_seconds integer default 60)
returns setof runledger.extended_lease
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz;
  v_caller constant text := runledger._caller();
  v_free uuid[];
  v_places tid[];
begin
  perform runledger._check_leases(heartbeat_jobs.job_ids, heartbeat_jobs.lease_tokens);
  if coalesce(heartbeat_jobs.lease_seconds, 0)
    not between 1 and runledger._limit('lease_seconds') then
    perform runledger._raise('job.invalid_lease_duration', jsonb_build_object(
      'lease_seconds', heartbeat_jobs.lease_seconds, 'max', runledger._limit('lease_seconds')));
  end if;
  with free as materialized (
    select q.id, q.ctid as place from runledger.job_queue as q
     where q.id = any (heartbeat_jobs.job_ids) order by q.id for no key update skip locked
  )
  select array_agg(f.id), array_agg(f.place) into v_free, v_places from free as f;
  v_now := runledger._now();
  return query
  with asked as materialized (
    select a.job_id, a.lease_token, a.nth
      from unnest(heartbeat_jobs.job_ids, heartbeat_jobs.lease_tokens)
           with ordinality as a(job_id, lease_token, nth)
  ), held as materialized (
    select a.job_id, a.lease_token, f.place
      from asked as a full join unnest(v_free, v_places) as f(id, place) on f.id = a.job_id
  ), extended as (
    update runledger.job_queue as q
       set lease_expires_at = v_now + make_interval(secs => heartbeat_jobs.lease_seconds),
           last_heartbeat_at = v_now, updated_at = v_now
      from held as h
     where q.ctid = h.place and q.id is not distinct from h.job_id and q.status = 'LEASED'
       and coalesce(q.lease_token, 0) = h.lease_token and q.lease_expires_at > v_now
       and (q.lease_role = v_caller or runledger._acts_as(v_caller, q.lease_role))
    returning q.id, q.lease_token, q.lease_expires_at
  )
  select a.job_id,
         case when q.status = 'LEASED' and q.lease_token = a.lease_token
               and q.lease_expires_at > v_now then 'EXTENDED'
              when q.status = 'CANCELED' and q.last_lease_token = a.lease_token then 'CANCELED'
              else 'LOST' end,
         case when e.id is not null then e.lease_expires_at
              when q.status = 'LEASED' and q.lease_token = a.lease_token
               and q.lease_expires_at > v_now then q.lease_expires_at end
    from asked as a
    full join extended as e on e.id = a.job_id and e.lease_token = a.lease_token
    left join lateral (
      select x.* from runledger.job_queue as x
       where x.id = a.job_id
         and (x.lease_role = v_caller or runledger._acts_as(v_caller, x.lease_role))
      offset 0) as q on true
   order by a.nth;
end
$$;

comment on function runledger.heartbeat_jobs(uuid[], bigint[], integer) is
  'Extend leases to lease_seconds from now. One row per job, in order: EXTENDED: the lease is '
  'yours until lease_expires_at (of a row that somebody is changing that is the expiry it had); '
  'CANCELED: stop, then send any outcome through finish_jobs to tell that you are quiet; LOST: '
  'stop, it is not yours.';
