-- Ages are of the statement's own clock and not of _now(): whoever may read a view need not be
-- allowed to call an internal. Below 100 hours they show seconds, above it days: short either way.
create or replace view runledger.jobs with (security_barrier) as
  select q.id as job_id, q.job_type,
         runledger._job_state(q.status, q.lease_expires_at, q.next_run_at, q.attempt,
           statement_timestamp()) as state,
         q.priority as prio, q.attempt || '/' || q.max_attempts as try,
         case when q.status <> 'PENDING' then null
              when abs(extract(epoch from t.due_in)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.due_in))::integer)
              else date_trunc('day', t.due_in) end as due_in,
         case when abs(extract(epoch from t.age)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.age))::integer)
              else date_trunc('day', t.age) end as age,
         left(translate(case
           when q.status in ('LEASED', 'SUCCEEDED') then q.stage
           when q.status = 'CANCELED' then q.status_reason
           else coalesce(q.last_error_code, q.status_reason, q.stage) end,
           E'\r\n\t', '   '), 17) as note
    from runledger.job_queue as q
   cross join lateral (select q.next_run_at - statement_timestamp() as due_in,
                              statement_timestamp() - q.created_at as age) as t;

comment on view runledger.jobs is
  'Every job, one line each. Newest first: order by job_id desc. Everything about one: get_job().';
comment on column runledger.jobs.job_id is 'The job.';
comment on column runledger.jobs.job_type is 'Its type.';
comment on column runledger.jobs.state is
  'ready: could be claimed now. delayed, retrying: in due_in. running; lost: its lease ran out, '
  'the reaper comes. stopping: canceled, its handler may still be at work. done, dead, canceled.';
comment on column runledger.jobs.prio is 'Priority; larger is claimed first.';
comment on column runledger.jobs.try is 'Attempts charged in this run / attempts it may have.';
comment on column runledger.jobs.due_in is
  'How long until a pending job may be claimed; negative: that long it could have been.';
comment on column runledger.jobs.age is 'Since when it exists.';
comment on column runledger.jobs.note is
  'Its stage; error code of a job that failed, reason of one that was canceled, released or '
  'requeued. Cut.';
