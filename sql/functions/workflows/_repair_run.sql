-- Make a run what its jobs and edges say, whatever its steps and counters say: for the owner, when
-- fsck() tells so. A job knows its step by its first event. In the order of the run each step takes
-- the state of its job; one that has none is finished if it says so, else blocked, canceled, opened
-- or enqueued as its prerequisites demand. What was lost is enqueued anew; nothing that has
-- finished is undone. Holds the run and its jobs, so that nobody moves meanwhile.
create or replace function runledger._repair_run(run_id uuid)
returns text
language plpgsql volatile
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_jobs jsonb;
  v_step runledger.workflow_steps;
  v_canceled boolean;
begin
  perform runledger._require_read_committed('operations.unsupported_isolation');
  select r.status = 'CANCELED' into strict v_canceled
    from runledger.workflow_runs as r where r.id = _repair_run.run_id for update;
  perform 1 from runledger.job_queue as q
    where q.workflow_run_id = _repair_run.run_id order by q.id for update;
  select coalesce(jsonb_object_agg(k.step_key, q.id order by q.id desc), '{}') into v_jobs
    from runledger.job_queue as q
   cross join lateral (select coalesce(
       (select e.payload ->> 'step_key' from runledger.job_events as e
         where e.job_id = q.id and e.event_type = 'ENQUEUED' order by e.id limit 1),
       (select s.step_key from runledger.workflow_steps as s
         where s.job_id = q.id and s.workflow_run_id = _repair_run.run_id
         order by s.ordinal limit 1))) as k(step_key)
   where q.workflow_run_id = _repair_run.run_id and k.step_key is not null;
  for v_step in
    select s.* from runledger.workflow_steps as s
     where s.workflow_run_id = _repair_run.run_id order by s.ordinal, s.id
  loop
    perform runledger._repair_step(v_step, case when v_step.execution_kind = 'JOB'
      then (v_jobs ->> v_step.step_key)::uuid end, v_canceled, v_now);
  end loop;
  update runledger.workflow_runs as r
     set steps_total = c.total, steps_active = c.active, steps_waiting = c.waiting,
         steps_failed = c.failed, steps_succeeded = c.succeeded, status = n.status,
         finished_at = case when c.active + c.waiting = 0 then coalesce(r.finished_at, v_now) end,
         result = case when n.status = 'SUCCEEDED' then r.result end, updated_at = v_now
    from (select count(*) as total, count(*) filter (
                   where s.status in ('BLOCKED', 'ENQUEUED', 'RUNNING'))::integer as active,
                 count(*) filter (where s.status = 'WAITING_FOR_EXTERNAL')::integer as waiting,
                 count(*) filter (where s.status in ('FAILED', 'CANCELED'))::integer as failed,
                 count(*) filter (where s.status = 'SUCCEEDED')::integer as succeeded
            from runledger.workflow_steps as s
           where s.workflow_run_id = _repair_run.run_id) as c
   cross join lateral (select case when v_canceled and c.active + c.waiting = 0 then 'CANCELED'
           else runledger._status_of_run(c.active, c.waiting, c.failed)
           end::runledger.workflow_run_status as status) as n
   where r.id = _repair_run.run_id;
  perform runledger._close_runs(array[_repair_run.run_id], v_now);
  return (select r.status from runledger.workflow_runs as r where r.id = _repair_run.run_id);
end
$$;

comment on function runledger._repair_run(uuid) is
  'Derive steps, counters and status of a run anew from its jobs and edges; returns its status.';
