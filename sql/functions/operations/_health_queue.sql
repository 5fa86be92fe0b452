-- queue.*: types whose jobs are due and not taken. A worker that claims without registering is seen
-- by the leases it holds.
create or replace function runledger._health_queue(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
declare
  v_ready jsonb;
  v_unserved jsonb;
  v_paused jsonb;
begin
  with served as materialized (
    select distinct t.job_type
      from runledger.workers as w
     cross join lateral unnest(w.job_types) as t(job_type)
     where w.last_seen_at > _health_queue.now - interval '3 minutes'
  ), ready as materialized (
    select w.job_type, _health_queue.now - w.due_at as age, coalesce(d.is_paused, false) as paused,
           _health_queue.now - greatest(d.paused_at, w.due_at) as paused_for, d.paused_by,
           d.max_concurrency, d.is_paused is distinct from true
             and not exists (select from served as s where s.job_type = w.job_type)
             and not exists (select from runledger.job_queue as q
                              where q.job_type = w.job_type and q.lease_token is not null
                                and q.status = 'LEASED'
                                and q.lease_expires_at > _health_queue.now) as unserved
      from runledger._waiting_types() as w
      left join runledger.job_definitions as d on d.job_type = w.job_type
     where w.due_at <= _health_queue.now
  )
  select jsonb_agg(jsonb_build_object('job_type', r.job_type, 'seconds',
             trunc(extract(epoch from r.age)), 'max_concurrency', r.max_concurrency)
             order by r.age desc, r.job_type) filter (where not r.paused),
         jsonb_agg(jsonb_build_object('job_type', r.job_type, 'seconds',
             trunc(extract(epoch from r.age))) order by r.age desc, r.job_type)
             filter (where r.unserved),
         jsonb_agg(jsonb_build_object('job_type', r.job_type, 'seconds',
             trunc(extract(epoch from r.paused_for)), 'paused_by', r.paused_by)
             order by r.paused_for desc, r.job_type) filter (where r.paused)
    into v_ready, v_unserved, v_paused
    from ready as r;
  return next runledger._health_types('queue.ready_age', v_ready,
    'Jobs of type %s have been ready for %s: too few workers, or its limit is too low.',
    'select * from runledger.worker_status');
  return next runledger._health_types('queue.no_worker', v_unserved,
    'No live worker handles type %s, which has had ready jobs for %s. Start one.',
    'select * from runledger.worker_status');
  return next runledger._health_types('queue.paused', v_paused,
    'Ready jobs of type %s have been waiting for %s, because the type is paused.',
    'select * from runledger.resume_job_type(%L)');
end
$$;

comment on function runledger._health_queue(timestamptz) is
  'Ready jobs by type: how long the oldest waits, and whether anybody would take it.';
