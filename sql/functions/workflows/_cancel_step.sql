create or replace function runledger._cancel_step(job_id uuid, reason text, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_finished runledger._finished_step[];
begin
  with canceled as (
    update runledger.workflow_steps as s
       set status = 'CANCELED', finished_at = _cancel_step.now, updated_at = _cancel_step.now,
           status_reason = coalesce(_cancel_step.reason, 'CANCELED')
     where s.job_id = _cancel_step.job_id and s.status in ('ENQUEUED', 'RUNNING')
    returning s.id, s.workflow_run_id, s.status
  )
  select array_agg(row(c.id, c.workflow_run_id, c.status)::runledger._finished_step)
    into v_finished
    from canceled as c;
  if v_finished is not null then
    perform runledger._finish_steps(v_finished, false, _cancel_step.now);
  end if;
end
$$;

comment on function runledger._cancel_step(uuid, text, timestamptz) is
  'Cancel the step of a job that was just canceled, and tell its dependents.';
