-- What waits and runs of each job type, and what became of its attempts in the last 24 hours, over
-- all tenants or of one. What it reads does not grow with finished history.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.job_metrics(
  job_type text default null, organization_id uuid default null)
returns setof runledger.job_metrics_row
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_org constant uuid := job_metrics.organization_id;
  v_since constant timestamptz := v_now - interval '24 hours 5 minutes';
begin
  return query
  with recent as materialized (
    select c.job_type, c.outcome, sum(c.events)::bigint as events
      from runledger._job_outcomes_counted as c
     where c.slot_at > v_since
       and (job_metrics.job_type is null or c.job_type = job_metrics.job_type)
       and (v_org is null or c.organization_id = v_org)
     group by c.job_type, c.outcome
  )
  select d.job_type, w.n, h.n, h.stale, coalesce(o.succeeded, 0), coalesce(o.retryable, 0),
         coalesce(o.terminal, 0), coalesce(o.panicked, 0), coalesce(o.timed_out, 0),
         coalesce(o.dead, 0), p.p50, p.p95
    from runledger.job_definitions as d
   cross join lateral (
     select count(*) as n from runledger.job_queue as q
      where q.job_type = d.job_type and q.status = 'PENDING'
        and (v_org is null or q.organization_id = v_org)) as w
   cross join lateral (
     select count(*) as n, count(*) filter (where q.lease_expires_at < v_now) as stale
       from runledger.job_queue as q
      where q.job_type = d.job_type and q.lease_token is not null and q.status = 'LEASED'
        and (v_org is null or q.organization_id = v_org)) as h
   cross join lateral (
     select max(r.events) filter (where r.outcome = 'SUCCEEDED') as succeeded,
            max(r.events) filter (where r.outcome = 'RETRYABLE') as retryable,
            max(r.events) filter (where r.outcome = 'TERMINAL') as terminal,
            max(r.events) filter (where r.outcome = 'PANICKED') as panicked,
            max(r.events) filter (where r.outcome = 'TIMEOUT') as timed_out,
            max(r.events) filter (where r.outcome = 'DEAD_LETTERED') as dead
       from recent as r
      where r.job_type = d.job_type) as o
    left join runledger._duration_percentiles(job_metrics.job_type, v_org, v_since) as p
      on p.of_type = d.job_type
   where job_metrics.job_type is null or d.job_type = job_metrics.job_type
   order by d.job_type;
end
$$;

comment on function runledger.job_metrics(text, uuid) is
  'One row per job type, also for types without jobs: jobs that wait and run now, attempts of the '
  'last 24 hours by outcome, percentiles of their durations (NULL without data) over all tenants '
  'or of one. As exact as the view job_metrics_rollup.';
