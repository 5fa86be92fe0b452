-- Move steps between the counters of their runs, and let the status of each run follow. from_active
-- were BLOCKED, ENQUEUED or RUNNING, from_waiting were open gates; their status now says where they
-- go. One update per run: no status in between is ever stored.
create or replace function runledger._count_steps(
  from_active runledger._finished_step[], from_waiting runledger._finished_step[],
  now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_ended uuid[];
begin
  with moved as (
    select m.workflow_run_id, m.status, 1 as active, 0 as waiting
      from unnest(_count_steps.from_active) as m
    union all
    select m.workflow_run_id, m.status, 0, 1 from unnest(_count_steps.from_waiting) as m
  ), delta as materialized (
    select m.workflow_run_id as id, sum(m.active)::integer as left_active,
           sum((m.status = 'WAITING_FOR_EXTERNAL')::integer - m.waiting)::integer as waiting,
           sum((m.status in ('FAILED', 'CANCELED'))::integer)::integer as failed,
           sum((m.status = 'SUCCEEDED')::integer)::integer as succeeded
      from moved as m
     group by m.workflow_run_id
  ), counted as (
    update runledger.workflow_runs as r
       set steps_active = c.active, steps_waiting = c.waiting, steps_failed = c.failed,
           steps_succeeded = c.succeeded, updated_at = _count_steps.now,
           status = case when r.status = 'CANCELED' then r.status
                         else runledger._status_of_run(c.active, c.waiting, c.failed) end,
           finished_at = case when r.status = 'CANCELED' then r.finished_at
                              when c.active + c.waiting = 0 then _count_steps.now end
      from delta as d
     cross join lateral (
       select x.* from runledger.workflow_runs as x where x.id = d.id offset 0) as o
     cross join lateral (select o.steps_active - d.left_active, o.steps_waiting + d.waiting,
                                o.steps_failed + d.failed, o.steps_succeeded + d.succeeded
           ) as c(active, waiting, failed, succeeded)
     where r.id = any (array[o.id])
    returning r.id, r.finished_at
  )
  select array_agg(c.id) into v_ended from counted as c where c.finished_at is not null;
  if v_ended is not null then
    perform runledger._close_runs(v_ended, _count_steps.now);
  end if;
end
$$;

comment on function runledger._count_steps(
  runledger._finished_step[], runledger._finished_step[], timestamptz) is
  'Adjust the counters and the status of the runs of these steps, and close finished runs.';
