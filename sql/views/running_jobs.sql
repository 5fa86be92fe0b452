create or replace view runledger.running_jobs with (security_barrier) as
  select q.id as job_id, q.job_type, q.worker_id as worker,
         case when abs(extract(epoch from t.running)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.running))::integer)
              else date_trunc('day', t.running) end as running,
         case when abs(extract(epoch from t.lease)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.lease))::integer)
              else date_trunc('day', t.lease) end as lease,
         q.attempt || '/' || q.max_attempts as try,
         case when q.progress_pct is not null then round(q.progress_pct) || '%'
              else q.progress_done::text end as progress,
         q.stage
    from runledger.job_queue as q
    left join runledger.job_attempts as a
      on a.job_id = q.id and a.run_number = q.run_number and a.attempt = q.attempt
   cross join lateral (select statement_timestamp() - a.leased_at as running,
                              q.lease_expires_at - statement_timestamp() as lease) as t
   where q.status = 'LEASED' and q.lease_token is not null
   order by a.leased_at, q.id;

comment on view runledger.running_jobs is 'The jobs that workers hold now, the longest held first.';
comment on column runledger.running_jobs.job_id is 'The job.';
comment on column runledger.running_jobs.job_type is 'Its type.';
comment on column runledger.running_jobs.worker is 'Who holds it.';
comment on column runledger.running_jobs.running is 'Since when this attempt runs.';
comment on column runledger.running_jobs.lease is
  'How long its lease still lasts without a heartbeat; negative: it ran out.';
comment on column runledger.running_jobs.try is
  'Attempts charged in this run / attempts it may have.';
comment on column runledger.running_jobs.progress is
  'Share done in percent, or units done if no total is known.';
comment on column runledger.running_jobs.stage is 'Its stage, in the words of its handler.';
