-- The counters: totals and what is not counted yet, read as of the same moment, so that they never
-- fall. Types that never ran show zeros: a counter that begins with its first failure hides it.
create or replace function runledger._outcome_samples()
returns setof runledger._sample
language plpgsql stable
as $$
declare
  v_counted constant bigint := runledger._rolled_up_to();
begin
  return query
  with counted as materialized (
    select c.job_type, c.outcome, c.bucket, sum(c.events) as events,
           sum(c.duration_us) as duration_us
      from (select t.job_type, t.outcome, t.bucket, t.events, t.duration_us
              from runledger.job_metrics_totals as t
            union all
            select o.job_type, o.outcome, o.bucket, 1, coalesce(o.duration_us, 0)
              from runledger._job_outcomes as o
             where o.id > v_counted and o.id <= 9223372036854775807) as c
     group by c.job_type, c.outcome, c.bucket
  ), types as materialized (
    select d.job_type from runledger.job_definitions as d
    union
    select c.job_type from counted as c
  ), outcomes as (
    select v.family, v.outcome, v.place
      from (values ('runledger_jobs_enqueued_total', array['ENQUEUED']),
                   ('runledger_jobs_requeued_total', array['REQUEUED']),
                   ('runledger_jobs_finished_total',
                    array['SUCCEEDED', 'DEAD_LETTERED', 'CANCELED']),
                   ('runledger_attempts_finished_total',
                    array['SUCCEEDED', 'RETRYABLE', 'TERMINAL', 'PANICKED', 'TIMEOUT',
                      'LEASE_EXPIRED', 'CONTINUED', 'RELEASED'])) as f(family, outcomes)
     cross join lateral unnest(f.outcomes) with ordinality as u(outcome, place)
     cross join lateral (select f.family, u.outcome, u.place) as v
  )
  select o.family, row_number() over (order by t.job_type, o.place), '',
         runledger._metric_label('job_type', t.job_type) || case
           when o.family like '%finished%'
             then ',' || runledger._metric_label('outcome', lower(o.outcome)) else '' end,
         coalesce((select sum(c.events) from counted as c
                    where c.job_type = t.job_type and c.outcome = o.outcome), 0)::text
    from types as t cross join outcomes as o
  union all
  select 'runledger_attempt_duration_seconds', row_number() over (order by t.job_type, l.place),
         l.suffix, runledger._metric_label('job_type', t.job_type) || l.le,
         coalesce((select case when l.suffix = '_sum' then trim_scale(sum(c.duration_us) / 1000000)
                               else sum(c.events) end
                     from counted as c
                    where c.job_type = t.job_type and c.bucket <= l.place), 0)::text
    from types as t
   cross join lateral (
     -- From a millisecond to almost three hours, two bounds a decade: each 13th bucket ends at one.
     select b.place, '_bucket' as suffix, ',' || runledger._metric_label('le',
              trim_scale(round(10 ^ (b.place / 26.0 - 6), 6))::text) as le
       from generate_series(78, 260, 13) as b(place)
     union all
     values (32765, '_bucket', ',le="+Inf"'), (32766, '_sum', ''), (32767, '_count', '')) as l;
end
$$;

comment on function runledger._outcome_samples() is
  'The samples that only rise: enqueued, finished by outcome, durations of attempts.';
