-- Whoever may read a view need not be allowed to call an internal function: hence the statement's
-- clock, and every formula in full. A percentile is read between the two ranks beside it, as
-- percentile_cont does, each rank standing for the middle of its bucket.
create or replace view runledger.job_metrics_rollup with (security_barrier = true) as
  with recent as materialized (
    select c.organization_id, c.job_type, c.outcome, c.bucket, sum(c.events) as events
      from runledger._job_outcomes_counted as c
     where c.slot_at > statement_timestamp() - interval '24 hours 5 minutes'
     group by c.organization_id, c.job_type, c.outcome, c.bucket
  ), ranked as (
    select r.organization_id, r.job_type, r.bucket,
           sum(sum(r.events)) over (partition by r.organization_id, r.job_type order by r.bucket)
             as upto,
           sum(sum(r.events)) over (partition by r.organization_id, r.job_type) - 1 as last
      from recent as r
     where r.bucket is not null
     group by r.organization_id, r.job_type, r.bucket
  ), spread as (
    select k.organization_id, k.job_type, 0.50 * k.last % 1 as part50, 0.95 * k.last % 1 as part95,
           min(k.bucket) filter (where k.upto > floor(0.50 * k.last)) as low50,
           min(k.bucket) filter (where k.upto > ceil(0.50 * k.last)) as high50,
           min(k.bucket) filter (where k.upto > floor(0.95 * k.last)) as low95,
           min(k.bucket) filter (where k.upto > ceil(0.95 * k.last)) as high95
      from ranked as k
     group by k.organization_id, k.job_type, k.last
  ), piece as (
    select q.organization_id, q.job_type, 'PENDING' as what, count(*)::numeric as n
      from runledger.job_queue as q
     where q.status = 'PENDING'
     group by q.organization_id, q.job_type
    union all
    select q.organization_id, q.job_type,
           case when q.lease_expires_at < statement_timestamp() then 'STALE' else 'LEASED' end, 1
      from runledger.job_queue as q
     where q.status = 'LEASED' and q.lease_token is not null
    union all
    select r.organization_id, r.job_type, 'DONE_' || r.outcome, r.events from recent as r
    union all
    select s.organization_id, s.job_type, v.what, v.n
      from spread as s
     cross join lateral (
       values ('P50', (1 - s.part50) * 10 ^ (s.low50 / 26.0) + s.part50 * 10 ^ (s.high50 / 26.0)),
              ('P95', (1 - s.part95) * 10 ^ (s.low95 / 26.0) + s.part95 * 10 ^ (s.high95 / 26.0)))
       as v(what, n)
  )
  select p.organization_id, p.job_type,
         coalesce(sum(p.n) filter (where p.what = 'PENDING'), 0)::bigint as pending_count,
         coalesce(sum(p.n) filter (where p.what in ('LEASED', 'STALE')), 0)::bigint as leased_count,
         coalesce(sum(p.n) filter (where p.what = 'STALE'), 0)::bigint as stale_leases,
         coalesce(sum(p.n) filter (where p.what = 'DONE_SUCCEEDED'), 0)::bigint as succeeded_24h,
         coalesce(sum(p.n) filter (where p.what = 'DONE_RETRYABLE'), 0)::bigint as retryable_24h,
         coalesce(sum(p.n) filter (where p.what = 'DONE_TERMINAL'), 0)::bigint as terminal_24h,
         coalesce(sum(p.n) filter (where p.what = 'DONE_PANICKED'), 0)::bigint as panicked_24h,
         coalesce(sum(p.n) filter (where p.what = 'DONE_TIMEOUT'), 0)::bigint as timeout_24h,
         coalesce(sum(p.n) filter (where p.what = 'DONE_DEAD_LETTERED'), 0)::bigint
           as dead_lettered_24h,
         round(sum(p.n) filter (where p.what = 'P50') * 0.000955748, 3) as p50_duration_ms_24h,
         round(sum(p.n) filter (where p.what = 'P95') * 0.000955748, 3) as p95_duration_ms_24h
    from piece as p
   group by p.organization_id, p.job_type;

comment on view runledger.job_metrics_rollup is
  'The last 24 hours of each job type and tenant, and what waits and runs now. The window begins '
  'up to five minutes early, percentiles are right within 5 %. Per type: job_metrics().';
comment on column runledger.job_metrics_rollup.organization_id is 'The tenant; NULL: global.';
comment on column runledger.job_metrics_rollup.job_type is 'The type.';
comment on column runledger.job_metrics_rollup.pending_count is 'Jobs that wait, due or not.';
comment on column runledger.job_metrics_rollup.leased_count is 'Jobs that workers hold.';
comment on column runledger.job_metrics_rollup.stale_leases is
  'Those among them whose lease ran out.';
comment on column runledger.job_metrics_rollup.succeeded_24h is 'Attempts that succeeded.';
comment on column runledger.job_metrics_rollup.retryable_24h is
  'Attempts that failed as RETRYABLE.';
comment on column runledger.job_metrics_rollup.terminal_24h is 'Attempts that failed as TERMINAL.';
comment on column runledger.job_metrics_rollup.panicked_24h is 'Attempts that failed as PANICKED.';
comment on column runledger.job_metrics_rollup.timeout_24h is
  'Attempts that failed as TIMEOUT. Those whose lease expired are in none of these.';
comment on column runledger.job_metrics_rollup.dead_lettered_24h is 'Jobs that were dead-lettered.';
comment on column runledger.job_metrics_rollup.p50_duration_ms_24h is
  'Median duration of the attempts that ended, in milliseconds; NULL: none did.';
comment on column runledger.job_metrics_rollup.p95_duration_ms_24h is
  '95th percentile of the same; NULL: none.';
