-- The look-ups are lateral and limited so that they stay look-ups: as joins the planner might read
-- all of job_queue for a handful of events. The bucket has 26 steps a decade of microseconds:
-- whoever takes the middle of one is wrong by 4.5 % at most, and powers of ten are bounds.
create or replace view runledger._job_outcomes as
  select e.id,
         date_bin('5 minutes', e.occurred_at, timestamptz '2000-01-01 00:00:00+00') as slot_at,
         q.job_type, q.organization_id, o.outcome, a.duration_us,
         ceil(26 * log(a.duration_us::double precision))::smallint as bucket
    from runledger.job_events as e
   cross join lateral (select case e.event_type
           when 'FAILED' then coalesce(e.payload ->> 'kind', 'FAILED')
           when 'REQUEUED' then case e.payload ->> 'requeue_kind'
             when 'HANDLER_CONTINUATION' then 'CONTINUED' when 'RELEASE' then 'RELEASED'
             else 'REQUEUED' end
           else e.event_type::text end as outcome) as o
   cross join lateral (
     select j.job_type, j.organization_id from runledger.job_queue as j
      where j.id = e.job_id limit 1) as q
    left join lateral (
     select greatest((extract(epoch from t.finished_at - t.started_at) * 1000000)::bigint, 1)
              as duration_us
       from runledger.job_attempts as t
      where e.attempt is not null and e.event_type <> 'DEAD_LETTERED'
        and t.job_id = e.job_id and t.run_number = e.run_number and t.attempt = e.attempt
        and t.started_at is not null and t.finished_at is not null
        and case e.event_type when 'FAILED' then t.outcome is not null
              else t.disposition = o.outcome end
      limit 1) as a on true
   where e.event_type in ('ENQUEUED', 'SUCCEEDED', 'FAILED', 'DEAD_LETTERED', 'CANCELED',
     'REQUEUED');

comment on view runledger._job_outcomes is
  'The events that metrics count, with type, tenant, outcome and duration. Internal.';
