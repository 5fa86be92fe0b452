-- schedule.*, gate.*: what is due by the clock. A schedule that is put off is due again within half
-- a minute: all of them stand at the head of the index.
create or replace function runledger._health_schedules(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
begin
  return query
  with due as materialized (
    select s.name, s.due_at, s.next_fire_at, s.job_type, s.deferred_code
      from runledger.job_schedules as s
     where s.is_active and s.due_at < _health_schedules.now + interval '1 minute'
     order by s.due_at limit 1000
  ), late as (
    select count(*) as schedules, _health_schedules.now - min(d.due_at) as age,
           (array_agg(d.name order by d.due_at, d.name))[:10] as names
      from due as d
     where d.due_at < _health_schedules.now
  ), deferred as (
    select count(*) as schedules, _health_schedules.now - min(d.next_fire_at) as age,
           (array_agg(d.name order by d.next_fire_at, d.name))[:10] as names,
           (array_agg(d.deferred_code order by d.next_fire_at, d.name))[1] as why,
           (array_agg(d.job_type order by d.next_fire_at, d.name))[1] as job_type
      from due as d
     where d.deferred_code is not null
  )
  select c.*
    from late as l
   cross join lateral runledger._health_check('schedule.lag', extract(epoch from l.age),
     format('%s overdue, %s by %s: nobody fires what is due. Workers do, and so does '
       'run_maintenance().', runledger._counted(l.schedules, 'schedule'),
       quote_literal(l.names[1]), runledger._age(l.age)),
     'select * from runledger.fire_due_schedules()',
     jsonb_build_object('schedules', to_jsonb(coalesce(l.names, '{}')))) as c
  union all
  select c.*
    from deferred as d
    left join runledger.error_codes() as e on e.code = d.why
   cross join lateral runledger._health_check('schedule.deferred', extract(epoch from d.age),
     format('%s could not fire, which is tried again every 30 s; %s for %s: %s',
       runledger._counted(d.schedules, 'schedule'), quote_literal(d.names[1]),
       runledger._age(d.age), coalesce(e.message || '. ' || e.hint, d.why)),
     case when d.why = 'job.definition_not_found_or_disabled' and d.job_type is not null
       then format('select * from runledger.enable_job_type(%L)', d.job_type)
       else format('select * from runledger.schedules where name = %L', d.names[1]) end,
     jsonb_build_object('schedules', to_jsonb(coalesce(d.names, '{}')), 'code', d.why)) as c;
  return query
  select c.*
    from (select count(*) as gates, _health_schedules.now - min(s.gate_expires_at) as age
            from (select s.gate_expires_at
                    from runledger.workflow_steps as s
                   where s.status = 'WAITING_FOR_EXTERNAL'
                     and s.gate_expires_at < _health_schedules.now
                   order by s.gate_expires_at limit 1000) as s) as g
   cross join lateral runledger._health_check('gate.overdue', extract(epoch from g.age),
     format('%s over time, the first by %s: run_maintenance() ends them and is not called.',
       runledger._counted(g.gates, 'gate'), runledger._age(g.age)),
     'select * from runledger.run_maintenance()', jsonb_build_object('gates', g.gates)) as c;
end
$$;

comment on function runledger._health_schedules(timestamptz) is
  'Overdue and deferred schedules, overdue gates.';
