-- lease.*: leases that ended and were not taken back, and jobs whose lease lives though their time
-- is over. job_queue.started_at is when the run began: it only narrows down which attempts to ask.
create or replace function runledger._health_leases(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
begin
  return query
  with expired as materialized (
    select q.lease_expires_at
      from runledger.job_queue as q
     where q.lease_token is not null and q.lease_expires_at <= _health_leases.now
     limit 20000
  )
  select h.*
    from (select count(*) as leases, _health_leases.now - min(e.lease_expires_at) as age
            from expired as e) as e
   cross join lateral runledger._health_check('lease.expired', extract(epoch from e.age),
     format('%s ended and not taken back, the first %s ago: no reaper comes. Workers bring one, '
       'and so does run_maintenance().', runledger._counted(e.leases, 'lease'),
       runledger._age(e.age)),
     'select * from runledger.reap_expired_leases(1000)',
     jsonb_build_object('leases', e.leases)) as h;
  return query
  with overrun as materialized (
    select q.id, q.job_type, q.worker_id, q.timeout_seconds,
           _health_leases.now - a.started_at - make_interval(secs => q.timeout_seconds) as over
      from runledger.job_queue as q
      join runledger.job_attempts as a
        on a.job_id = q.id and a.run_number = q.run_number and a.attempt = q.attempt
     where q.lease_token is not null and q.status = 'LEASED'
       and q.lease_expires_at > _health_leases.now
       and q.started_at < _health_leases.now - make_interval(secs => q.timeout_seconds)
       and a.started_at < _health_leases.now - make_interval(secs => q.timeout_seconds)
     limit 1000
  ), ranked as (
    select o.*, count(*) over () as jobs, row_number() over (order by o.over desc, o.id) as nth
      from overrun as o
  ), worst as (
    select max(r.over) as over, max(r.jobs) as jobs, (array_agg(r.id order by r.nth))[1] as id,
           (array_agg(r.worker_id order by r.nth))[1] as worker_id,
           jsonb_agg(jsonb_build_object('job_id', r.id, 'job_type', r.job_type, 'worker_id',
             r.worker_id, 'seconds_over', trunc(extract(epoch from r.over))) order by r.nth)
             filter (where r.nth <= 10) as worst
      from ranked as r
  )
  select h.*
    from worst as w
   cross join lateral runledger._health_check('lease.overrun', extract(epoch from w.over),
     format('%s running beyond the timeout, %s by %s: worker %s keeps its lease alive but does not '
       'end it. Canceling ends the job in the ledger, restarting the worker ends the handler.',
       runledger._counted(w.jobs, 'job'), w.id, runledger._age(w.over), w.worker_id),
     format('select * from runledger.cancel_job(%L, ''beyond its timeout'')', w.id),
     jsonb_build_object('jobs', coalesce(w.jobs, 0), 'worst', coalesce(w.worst, '[]'))) as h;
end
$$;

comment on function runledger._health_leases(timestamptz) is
  'Expired leases, and jobs that run beyond their timeout.';
