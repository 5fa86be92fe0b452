-- The rest: what is installed, workers, schedules, runs, dead letters. Dead letters are looked at
-- from the newest on and not all: they may be many, and an alert asks whether there are any.
create or replace function runledger._fleet_samples(now timestamptz)
returns setof runledger._sample
language plpgsql stable
as $$
begin
  return query
  with worker as (
    select case when w.last_seen_at < _fleet_samples.now - interval '3 minutes' then 'silent'
                when w.idle_until > _fleet_samples.now then 'idle' else 'busy' end as state
      from runledger.workers as w
  ), schedule as (
    select runledger._schedule_state(
             s.is_active, s.paused_at, s.deferred_at, s.due_at, _fleet_samples.now) as state
      from runledger.job_schedules as s
  ), run as (
    select r.status::text as state, count(*) as n
      from runledger.workflow_runs as r
     where r.status in ('RUNNING', 'WAITING_FOR_EXTERNAL')
     group by r.status
  ), newest as materialized (
    select d.job_id, d.run_number
      from runledger.job_dead_letters as d order by d.failed_at desc, d.job_id desc limit 1000
  )
  select 'runledger_schema_info', 1::bigint, '', concat_ws(',',
           runledger._metric_label('contract', i.contract::text),
           runledger._metric_label('migration_head', i.migration_head::text),
           runledger._metric_label('package_version', i.package_version)), '1'
    from runledger.schema_info() as i
  union all
  select 'runledger_workers', u.nth, '', runledger._metric_label('state', u.state),
         (select count(*) from worker as w where w.state = u.state)::text
    from unnest(array['busy', 'idle', 'silent']) with ordinality as u(state, nth)
  union all
  select 'runledger_schedules', u.nth, '', runledger._metric_label('state', u.state),
         (select count(*) from schedule as s where s.state = u.state)::text
    from unnest('{active,deferred,inactive,overdue,paused}'::text[])
         with ordinality as u(state, nth)
  union all
  select 'runledger_workflow_runs', u.nth, '', runledger._metric_label('status', lower(u.state)),
         coalesce((select r.n from run as r where r.state = u.state), 0)::text
    from unnest(array['RUNNING', 'WAITING_FOR_EXTERNAL']) with ordinality as u(state, nth)
  union all
  select 'runledger_dead_letters', 1, '', '', count(*)::text
    from newest as d
   cross join lateral (
     select from runledger.job_queue as q
      where q.id = d.job_id and q.status = 'DEAD_LETTERED' and q.run_number = d.run_number
      limit 1) as q
  union all
  select 'runledger_events_not_rolled_up', 1, '', '', greatest(case when s.is_called
           then s.last_value else 0 end - runledger._rolled_up_to(), 0)::text
    from runledger.job_events_id_seq as s;
end
$$;

comment on function runledger._fleet_samples(timestamptz) is
  'The samples that belong to no job type.';
