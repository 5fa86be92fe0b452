-- What the totals count and what they do not count yet. One row without a type instead, if that is
-- more than 20,000 events: then nobody does the upkeep, and counting would read history.
create or replace function runledger._ended_attempts()
returns table (job_type text, finished bigint, failed bigint)
language plpgsql stable
as $$
declare
  v_counted_to constant bigint := (select u.rolled_up_to from runledger.upkeep_state as u);
begin
  return query
  with tail as materialized (
    select e.job_id, e.event_type = 'FAILED' as has_failed
      from runledger.job_events as e
     where e.id > v_counted_to and e.id <= 9223372036854775807
       and e.event_type in ('SUCCEEDED', 'FAILED', 'DEAD_LETTERED')
     limit 20001
  )
  select t.job_type,
         sum(t.events) filter (where t.outcome in ('SUCCEEDED', 'DEAD_LETTERED'))::bigint,
         sum(t.events) filter (where t.outcome in
           ('RETRYABLE', 'TERMINAL', 'PANICKED', 'TIMEOUT', 'LEASE_EXPIRED'))::bigint
    from runledger.job_metrics_totals as t
   group by t.job_type
  union all
  select j.job_type, count(*) filter (where not l.has_failed), count(*) filter (where l.has_failed)
    from tail as l
   cross join lateral (
     select q.job_type from runledger.job_queue as q where q.id = l.job_id limit 1) as j
   group by j.job_type
  union all
  select null, null, null from tail having count(*) > 20000;
end
$$;

comment on function runledger._ended_attempts() is
  'Jobs that succeeded or were dead-lettered, and attempts that failed, by type, since ever.';
