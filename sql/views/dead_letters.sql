create or replace view runledger.dead_letters with (security_barrier) as
  select d.job_id, d.job_type,
         case when abs(extract(epoch from t.age)) < 360000
                then make_interval(secs => trunc(extract(epoch from t.age))::integer)
              else date_trunc('day', t.age) end as age,
         case when q.run_number = d.run_number and q.status = 'DEAD_LETTERED' then 'dead'
              when q.status = 'SUCCEEDED' then 'done'
              when q.status = 'CANCELED' then 'canceled'
              else 'requeued' end as state,
         left(translate(d.error_code, E'\r\n\t', '   '), 18) as error_code,
         left(translate(d.error_message, E'\r\n\t', '   '), 20) as error_message
    from runledger.job_dead_letters as d
    left join runledger.job_queue as q on q.id = d.job_id
   cross join lateral (select statement_timestamp() - d.failed_at as age) as t
   order by d.failed_at desc, d.job_id desc;

comment on view runledger.dead_letters is
  'The latest dead letter of each job, latest first. state says whether it still is one. Run them '
  'again with requeue_job() or redrive_dead_letters().';
comment on column runledger.dead_letters.job_id is 'The job.';
comment on column runledger.dead_letters.job_type is 'Its type.';
comment on column runledger.dead_letters.age is 'Since when it is dead.';
comment on column runledger.dead_letters.state is
  'dead: still. requeued: waits or runs again. done, canceled: what became of it after a requeue.';
comment on column runledger.dead_letters.error_code is 'Code of the failure, cut.';
comment on column runledger.dead_letters.error_message is
  'Message of the failure, cut; the whole of it is in job_dead_letters.';
