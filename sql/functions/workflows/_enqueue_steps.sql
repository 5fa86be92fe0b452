-- The jobs of steps that were just let go. Settings were resolved when the step was added; a type
-- that was disabled since then does not stop a run that has begun.
create or replace function runledger._enqueue_steps(step_ids uuid[], now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_types text[];
begin
  with released as materialized (
    select s.* from runledger.workflow_steps as s where s.id = any (_enqueue_steps.step_ids)
  ), queued as (
    insert into runledger.job_queue
      (id, job_type, organization_id, payload, priority, max_attempts, timeout_seconds, next_run_at,
       stage, workflow_run_id, created_at, updated_at)
    select r.job_id, r.job_type, r.organization_id, r.payload, r.priority, r.max_attempts,
           r.timeout_seconds, _enqueue_steps.now, r.stage, r.workflow_run_id, _enqueue_steps.now,
           _enqueue_steps.now
      from released as r
     order by r.ordinal
  ), logged as (
    insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
    select r.job_id, 1, 'ENQUEUED', r.stage, jsonb_build_object('job_type', r.job_type,
             'workflow_run_id', r.workflow_run_id, 'step_key', r.step_key), _enqueue_steps.now
      from released as r
  )
  select array_agg(distinct r.job_type) into v_types from released as r;
  perform runledger._wake(v_types, _enqueue_steps.now);
end
$$;

comment on function runledger._enqueue_steps(uuid[], timestamptz) is
  'Insert the jobs of these ENQUEUED steps, with their events, and wake idle workers.';
