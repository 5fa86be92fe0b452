-- What stands in the queue, per job type. One pass over the index of pending jobs; its cost is that
-- of the backlog, not of history.
create or replace function runledger._queue_samples(now timestamptz)
returns setof runledger._sample
language plpgsql stable
as $$
begin
  return query
  with waiting as (
    select q.job_type, count(*) as n, count(*) filter (where q.next_run_at <= _queue_samples.now)
             as ready, min(q.next_run_at) as due_at
      from runledger.job_queue as q
     where q.status = 'PENDING'
     group by q.job_type
  ), held as (
    select q.job_type, count(*) as n,
           count(*) filter (where q.lease_expires_at < _queue_samples.now) as stale
      from runledger.job_queue as q
     where q.status = 'LEASED' and q.lease_token is not null
     group by q.job_type
  )
  select v.family, row_number() over (order by d.job_type), '',
         runledger._metric_label('job_type', d.job_type), v.value::text
    from runledger.job_definitions as d
    left join waiting as w on w.job_type = d.job_type
    left join held as h on h.job_type = d.job_type
   cross join lateral (values
     ('runledger_jobs_pending', coalesce(w.n, 0)::numeric),
     ('runledger_jobs_ready', coalesce(w.ready, 0)),
     ('runledger_oldest_ready_age_seconds', round(coalesce(greatest(
       extract(epoch from _queue_samples.now - w.due_at), 0), 0), 3)),
     ('runledger_jobs_leased', coalesce(h.n, 0)),
     ('runledger_leases_stale', coalesce(h.stale, 0)),
     ('runledger_job_type_paused', d.is_paused::integer),
     ('runledger_job_type_disabled', (not d.is_enabled)::integer)) as v(family, value);
end
$$;

comment on function runledger._queue_samples(timestamptz) is
  'The samples of each job type: what waits, what runs, whether it is paused or disabled.';
