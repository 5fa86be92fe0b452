-- A full join: claiming asks nobody to register, and who holds leases should be seen.
create or replace view runledger.worker_status with (security_barrier) as
  select coalesce(w.worker_id, l.worker_id) as worker,
         case when w.worker_id is null then 'unknown'
              when t.seen_ago > interval '3 minutes' then 'silent'
              when w.idle_until > statement_timestamp() then 'idle'
              else 'busy' end as state,
         case when abs(extract(epoch from t.seen_ago)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.seen_ago))::integer)
              else date_trunc('day', t.seen_ago) end as seen_ago,
         coalesce(l.leases, 0) as leases, w.max_jobs, cardinality(w.job_types) as types,
         case when abs(extract(epoch from t.up)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.up))::integer)
              else date_trunc('day', t.up) end as up,
         w.role_name as role
    from runledger.workers as w
    full join (
      select q.worker_id, count(*) as leases, max(q.last_heartbeat_at) as seen_at
        from runledger.job_queue as q
       where q.status = 'LEASED' and q.lease_token is not null
         and q.lease_expires_at > statement_timestamp()
       group by q.worker_id) as l on l.worker_id = w.worker_id
   cross join lateral (
     select statement_timestamp() - w.registered_at as up,
            statement_timestamp() - greatest(w.last_seen_at, l.seen_at) as seen_ago) as t
   order by 1;

comment on view runledger.worker_status is
  'Who works here: the workers that registered, and any others that hold leases.';
comment on column runledger.worker_status.worker is 'Its name.';
comment on column runledger.worker_status.state is
  'idle: waits to be woken. busy: works, or polls without waiting. silent: not heard of for three '
  'minutes. unknown: holds leases and never registered.';
comment on column runledger.worker_status.seen_ago is
  'Since it last registered, said that it is idle, claimed or sent a heartbeat.';
comment on column runledger.worker_status.leases is 'Jobs it holds whose leases are live.';
comment on column runledger.worker_status.max_jobs is 'How many it runs at once.';
comment on column runledger.worker_status.types is 'How many job types it handles.';
comment on column runledger.worker_status.up is 'Since when it is registered.';
comment on column runledger.worker_status.role is 'The role it registered as.';
