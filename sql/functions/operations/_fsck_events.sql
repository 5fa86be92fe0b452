-- E2, E4-E6: the rows of job_events. An orphan carries no run of a workflow: it is found by a pass
-- over everything.
create or replace function runledger._fsck_events(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_events.workflow_run_id;
  v_begin constant timestamptz := coalesce((runledger.retention()).history_begins_at, '-infinity');
  v_pruned constant timestamptz := coalesce(
    (select max(p.orphans_end_at) from runledger.prune_passes as p), '-infinity');
begin
  -- E2: time does not go back within a job. By a minute it may: a claim reads the clock before it
  -- meets a job that was changed meanwhile, and clocks are set.
  return query
  select 'E2', 'WARN', 'job ' || t.job_id, jsonb_build_object('event_id', t.id,
           'event_type', t.event_type, 'occurred_at', t.occurred_at,
           'previous_occurred_at', t.previous_at, 'violations', count(*) over ()),
         runledger._fsck_look(t.job_id)
    from (select e.job_id, e.id, e.event_type, e.occurred_at, lag(e.occurred_at) over (
             partition by e.job_id order by e.id) as previous_at
            from runledger.job_events as e) as t
   where t.occurred_at < t.previous_at - interval '1 minute'
     and (v_run is null or exists (select from runledger.job_queue as q
            where q.id = t.job_id and q.workflow_run_id = v_run))
   order by t.job_id, t.id limit _fsck_events.max_rows;
  -- E4: a run succeeds once.
  return query
  select 'E4', 'ERROR', 'job ' || e.job_id, jsonb_build_object('run_number', e.run_number,
           'successes', count(*), 'event_ids', (array_agg(e.id order by e.id))[:10],
           'violations', count(*) over ()),
         runledger._fsck_look(e.job_id)
    from runledger.job_events as e
   where e.event_type = 'SUCCEEDED'
     and (v_run is null or exists (select from runledger.job_queue as q
            where q.id = e.job_id and q.workflow_run_id = v_run))
   group by e.job_id, e.run_number
  having count(*) > 1
   order by e.job_id, e.run_number limit _fsck_events.max_rows;
  -- E5: every attempt has its LEASED event, unless that was dropped with its day.
  return query
  select 'E5', 'ERROR', 'job ' || a.job_id, jsonb_build_object('run_number', a.run_number,
           'attempt', a.attempt, 'violations', count(*) over ()),
         runledger._fsck_look(a.job_id)
    from runledger.job_attempts as a
   where a.leased_at >= v_begin
     and not exists (select from runledger.job_events as e
            where e.job_id = a.job_id and e.run_number = a.run_number and e.attempt = a.attempt
              and e.event_type = 'LEASED')
     and (v_run is null or exists (select from runledger.job_queue as q
            where q.id = a.job_id and q.workflow_run_id = v_run))
   order by a.job_id, a.run_number, a.attempt limit _fsck_events.max_rows;
  -- E6: no event without a job, none of a run that is still to come. Events of pruned jobs stay
  -- until their day is dropped.
  return query
  select 'E6', 'ERROR', 'job ' || e.job_id, jsonb_build_object('event_id', e.id,
           'event_type', e.event_type, 'run_number', e.run_number,
           'job_exists', q.id is not null, 'job_run_number', q.run_number,
           'violations', count(*) over ()),
         case when q.id is null
           then format('delete from runledger.job_events where job_id = %L', e.job_id)
           else runledger._fsck_look(e.job_id) end
    from runledger.job_events as e
    left join runledger.job_queue as q on q.id = e.job_id
   where ((q.id is null and e.occurred_at >= v_pruned) or e.run_number > q.run_number)
     and (v_run is null or q.workflow_run_id = v_run)
   order by e.job_id, e.id limit _fsck_events.max_rows;
end
$$;

comment on function runledger._fsck_events(uuid, integer) is
  'Invariants E2, E4, E5 and E6: what an event says.';
