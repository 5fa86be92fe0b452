-- The upper bound says nothing to the reader and much to the planner: with it the unknown lower
-- one counts as a narrow range, which is what the end of the log is.
create or replace view runledger._job_outcomes_counted as
  select s.slot_at, s.job_type, s.organization_id, s.outcome, s.bucket, s.events, s.duration_us
    from runledger.job_metrics_slots as s
  union all
  select o.slot_at, o.job_type, o.organization_id, o.outcome, o.bucket, 1::bigint,
         coalesce(o.duration_us, 0)
    from runledger._job_outcomes as o
   where o.id > coalesce((select u.rolled_up_to from runledger.upkeep_state as u), 0)
     and o.id <= 9223372036854775807;

comment on view runledger._job_outcomes_counted is
  'What happened in five minutes, counted already or still to be counted. Internal.';
