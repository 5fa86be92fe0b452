-- Add the events of a range of ids to the metrics. Nobody may write events of that range any more:
-- _roll_up sees to it.
create or replace function runledger._count_events(above bigint, upto bigint)
returns bigint
language plpgsql volatile
as $$
declare
  v_counted bigint;
begin
  if _count_events.upto <= _count_events.above then
    return 0;
  end if;
  with fresh as materialized (
    select o.slot_at, o.job_type, o.organization_id, o.outcome, o.bucket, count(*) as events,
           coalesce(sum(o.duration_us), 0) as duration_us
      from runledger._job_outcomes as o
     where o.id > _count_events.above and o.id <= _count_events.upto
     group by o.slot_at, o.job_type, o.organization_id, o.outcome, o.bucket
  ), slots as (
    insert into runledger.job_metrics_slots as s
      (slot_at, job_type, organization_id, outcome, bucket, events, duration_us)
    select f.slot_at, f.job_type, f.organization_id, f.outcome, f.bucket, f.events, f.duration_us
      from fresh as f
    on conflict on constraint a_slot_counts_each_outcome_once do update
       set events = s.events + excluded.events,
           duration_us = s.duration_us + excluded.duration_us
  ), totals as (
    insert into runledger.job_metrics_totals as t (job_type, outcome, bucket, events, duration_us)
    select f.job_type, f.outcome, f.bucket, sum(f.events), sum(f.duration_us)
      from fresh as f
     group by f.job_type, f.outcome, f.bucket
    on conflict on constraint the_totals_count_each_outcome_once do update
       set events = t.events + excluded.events,
           duration_us = t.duration_us + excluded.duration_us
  )
  select coalesce(sum(f.events), 0) into v_counted from fresh as f;
  return v_counted;
end
$$;

comment on function runledger._count_events(bigint, bigint) is
  'Add the events above the one id and up to the other to the metrics; returns how many counted.';
