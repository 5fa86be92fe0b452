-- The same formula as in the view job_metrics_rollup, which may call no function of ours: between
-- the two ranks beside the percentile, each standing for the middle of its bucket.
create or replace function runledger._duration_percentiles(
  job_type text, organization_id uuid, since timestamptz)
returns table (of_type text, p50 numeric, p95 numeric)
language plpgsql stable
as $$
begin
  return query
  with ranked as (
    select c.job_type, c.bucket,
           sum(sum(c.events)) over (partition by c.job_type order by c.bucket) as upto,
           sum(sum(c.events)) over (partition by c.job_type) - 1 as last
      from runledger._job_outcomes_counted as c
     where c.slot_at > _duration_percentiles.since and c.bucket is not null
       and (_duration_percentiles.job_type is null or c.job_type = _duration_percentiles.job_type)
       and (_duration_percentiles.organization_id is null
            or c.organization_id = _duration_percentiles.organization_id)
     group by c.job_type, c.bucket
  ), spread as (
    select k.job_type, 0.50 * k.last % 1 as part50, 0.95 * k.last % 1 as part95,
           min(k.bucket) filter (where k.upto > floor(0.50 * k.last)) as low50,
           min(k.bucket) filter (where k.upto > ceil(0.50 * k.last)) as high50,
           min(k.bucket) filter (where k.upto > floor(0.95 * k.last)) as low95,
           min(k.bucket) filter (where k.upto > ceil(0.95 * k.last)) as high95
      from ranked as k
     group by k.job_type, k.last
  )
  select s.job_type,
         round(((1 - s.part50) * 10 ^ (s.low50 / 26.0) + s.part50 * 10 ^ (s.high50 / 26.0))
           * 0.000955748, 3),
         round(((1 - s.part95) * 10 ^ (s.low95 / 26.0) + s.part95 * 10 ^ (s.high95 / 26.0))
           * 0.000955748, 3)
    from spread as s;
end
$$;

comment on function runledger._duration_percentiles(text, uuid, timestamptz) is
  'Median and 95th percentile of the durations of attempts since then, in milliseconds, per type.';
