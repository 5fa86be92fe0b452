-- worker.*: who registered and is gone, and who holds leases and is gone. Heartbeats come at a
-- third of the lease: two thirds of it without one, and not less than three minutes, is silence.
-- So a long lease taken by hand is none.
create or replace function runledger._health_workers(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
begin
  return query
  with held as materialized (
    select q.worker_id, count(*) as leases, max(q.last_heartbeat_at) as seen_at,
           max(q.lease_expires_at) as until, bool_and(q.last_heartbeat_at < _health_workers.now
             - greatest((q.lease_expires_at - q.last_heartbeat_at) * 2 / 3, interval '3 minutes'))
             as silent
      from runledger.job_queue as q
     where q.lease_token is not null and q.status = 'LEASED'
       and q.lease_expires_at > _health_workers.now
     group by q.worker_id
  ), gone as materialized (
    select w.worker_id, _health_workers.now - w.last_seen_at as age
      from runledger.workers as w
     where w.last_seen_at < _health_workers.now - interval '3 minutes'
       and not exists (select from held as h where h.worker_id = w.worker_id)
     order by w.last_seen_at, w.worker_id limit 1000
  ), silent as materialized (
    select h.worker_id, _health_workers.now - h.seen_at as age, h.leases, h.until
      from held as h
     where h.silent
     order by h.seen_at, h.worker_id limit 1000
  ), found as (
    select (select count(*) from gone as g) as gone, (select max(g.age) from gone as g) as gone_age,
           (select array_agg(g.worker_id order by g.age desc, g.worker_id) from gone as g) as names,
           (select count(*) from silent as s) as silent,
           (select max(s.age) from silent as s) as silent_age,
           (select sum(s.leases) from silent as s) as leases,
           (select max(s.until) from silent as s) as until,
           (select array_agg(s.worker_id order by s.age desc, s.worker_id)
              from silent as s) as holders
  )
  select h.*
    from found as f
   cross join lateral (
     select c.* from runledger._health_check('worker.silent', f.gone,
       format('%s without leases said nothing for up to %s, as after an end without a word. '
         'Whoever says nothing is forgotten after a day.', runledger._counted(f.gone, 'worker'),
         runledger._age(f.gone_age)),
       format('select runledger.deregister_worker(w) from unnest(%L::text[]) as w', f.names[:100]),
       jsonb_build_object('workers', to_jsonb(coalesce(f.names[:10], '{}')))) as c
     union all
     select c.* from runledger._health_check('worker.silent_holder', f.silent,
       format('%s with %s sent no heartbeat for up to %s. Jobs are taken back when their leases '
         'end, the last in %s.', runledger._counted(f.silent, 'worker'),
         runledger._counted(f.leases::bigint, 'lease'), runledger._age(f.silent_age),
         runledger._age(f.until - _health_workers.now)),
       format('select * from runledger.running_jobs where worker = any (%L)', f.holders[:100]),
       jsonb_build_object('workers', to_jsonb(coalesce(f.holders[:10], '{}')),
         'leases', coalesce(f.leases, 0))) as c) as h;
end
$$;

comment on function runledger._health_workers(timestamptz) is
  'Workers that were not heard of, with and without leases.';
