-- W10-W12: a run is what its steps make it; one that prune is taking away has no longer all of
-- them.
create or replace function runledger._fsck_runs(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_runs.workflow_run_id;
begin
  -- W10: the counters of the run are a recount of its steps.
  -- W11: its status follows from the counters, a canceled run has nothing open, and exactly the
  -- finished ones have an end.
  -- W12: in a run that is going on there is something that can move.
  return query
  with recount as (
    select r.id, count(s.id)::integer as total, count(*) filter (
             where s.status in ('BLOCKED', 'ENQUEUED', 'RUNNING'))::integer as active,
           count(*) filter (where s.status = 'WAITING_FOR_EXTERNAL')::integer as waiting,
           count(*) filter (where s.status in ('FAILED', 'CANCELED'))::integer as failed,
           count(*) filter (where s.status = 'SUCCEEDED')::integer as succeeded,
           count(*) filter (where s.status in ('ENQUEUED', 'RUNNING', 'WAITING_FOR_EXTERNAL')
             )::integer as movable
      from runledger.workflow_runs as r
      left join runledger.workflow_steps as s on s.workflow_run_id = r.id
     where (v_run is null or r.id = v_run) and r.pruned_at is null
     group by r.id
  ), checked as (
    select r.*, c.total, c.active, c.waiting, c.failed, c.succeeded, v.invariant
      from recount as c
      join runledger.workflow_runs as r on r.id = c.id
     cross join lateral (
       select 'W10' as invariant
        where (r.steps_total, r.steps_active, r.steps_waiting, r.steps_failed, r.steps_succeeded)
              <> (c.total, c.active, c.waiting, c.failed, c.succeeded)
       union all
       select 'W11'
        where (r.status in ('RUNNING', 'WAITING_FOR_EXTERNAL')) <> (r.finished_at is null)
           or (r.status = 'CANCELED' and r.steps_active + r.steps_waiting > 0)
           or r.status not in ('CANCELED', runledger._status_of_run(
                r.steps_active, r.steps_waiting, r.steps_failed))
       union all
       select 'W12' where r.finished_at is null and c.movable = 0) as v
  ), placed as (
    select c.*, count(*) over (partition by c.invariant) as violations,
           row_number() over (partition by c.invariant order by c.id) as nth
      from checked as c
  )
  select p.invariant, 'ERROR', 'workflow run ' || p.id, jsonb_build_object('status', p.status,
           'finished_at', p.finished_at,
           'stored', jsonb_build_array(p.steps_total, p.steps_active, p.steps_waiting,
             p.steps_failed, p.steps_succeeded),
           'counted', jsonb_build_array(p.total, p.active, p.waiting, p.failed, p.succeeded),
           'violations', p.violations),
         runledger._fsck_run_repair(p.id)
    from placed as p
   where p.nth <= _fsck_runs.max_rows
   order by p.invariant, p.nth;
end
$$;

comment on function runledger._fsck_runs(uuid, integer) is
  'Invariants W10 to W12: runs against their steps.';
