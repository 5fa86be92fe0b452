-- One step of _repair_run; its prerequisites are right already. A step whose job exists although it
-- may not run yet is left to people: no state can say that.
create or replace function runledger._repair_step(
  step runledger.workflow_steps, job_id uuid, run_is_canceled boolean, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_step constant runledger.workflow_steps := _repair_step.step;
  v_job runledger.job_queue;
  v_total integer;
  v_pending integer;
  v_unsatisfied integer;
  v_status runledger.step_status;
begin
  select count(*), count(*) filter (where p.finished_at is null),
         count(*) filter (where e.release_mode = 'ON_SUCCESS'
                            and p.status in ('FAILED', 'CANCELED'))
    into v_total, v_pending, v_unsatisfied
    from runledger.workflow_step_dependencies as e
    join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
   where e.dependent_step_id = v_step.id;
  select q.* into v_job from runledger.job_queue as q where q.id = _repair_step.job_id;
  v_status := case
    when v_job.status = 'PENDING' then 'ENQUEUED'
    when v_job.status = 'LEASED' then 'RUNNING'
    when v_job.status = 'DEAD_LETTERED' then 'FAILED'
    when v_job.id is not null then v_job.status::text
    when v_step.status in ('SUCCEEDED', 'FAILED', 'CANCELED') then v_step.status::text
    when _repair_step.run_is_canceled then 'CANCELED'
    when v_pending > 0 then 'BLOCKED'
    when v_unsatisfied > 0 then 'CANCELED'
    when v_step.execution_kind = 'EXTERNAL' then 'WAITING_FOR_EXTERNAL'
    else 'ENQUEUED' end;
  if v_status not in ('BLOCKED', 'CANCELED') and v_pending + v_unsatisfied > 0 then
    return;
  end if;
  update runledger.workflow_steps as s
     set status = v_status, dependency_count_total = v_total,
         dependency_count_pending = v_pending, dependency_count_unsatisfied = v_unsatisfied,
         job_id = case when v_job.id is not null then v_job.id
                       when v_status = 'ENQUEUED' then runledger._uuidv7()
                       when s.execution_kind = 'JOB' and v_status in ('SUCCEEDED', 'FAILED',
                         'CANCELED') then s.job_id end,
         output = case when v_status = 'SUCCEEDED' then coalesce(s.output, v_job.output) end,
         released_at = case when v_status = 'BLOCKED' then null
           when v_job.id is null and v_status = 'CANCELED' then s.released_at
           else coalesce(s.released_at, v_job.created_at, _repair_step.now) end,
         gate_expires_at = case when v_status = 'WAITING_FOR_EXTERNAL' then coalesce(
           s.gate_expires_at, _repair_step.now + make_interval(secs => s.gate_timeout_seconds))
           end,
         finished_at = case when v_status in ('SUCCEEDED', 'FAILED', 'CANCELED')
           then coalesce(s.finished_at, v_job.finished_at, _repair_step.now) end,
         updated_at = _repair_step.now
   where s.id = v_step.id;
  if v_status = 'ENQUEUED' and v_job.id is null then
    perform runledger._enqueue_steps(array[v_step.id], _repair_step.now);
  end if;
end
$$;

comment on function runledger._repair_step(
  runledger.workflow_steps, uuid, boolean, timestamptz) is
  'Give a step the state of its job, or the one that its prerequisites demand.';
