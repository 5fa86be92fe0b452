-- A job of a workflow cannot be requeued: its run went on without it. The run then tells the rest.
create or replace function runledger._why_finished(job runledger._job_case, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_job constant runledger._job_case := _why_finished.job;
  v_again constant text := case
    when v_job.workflow_run_id is not null
      then format('select * from runledger.why_workflow(%L);', v_job.workflow_run_id)
    when not v_job.is_redacted
      then format('select * from runledger.requeue_job(%L, expected_run_number => %s);',
             v_job.id, v_job.run_number) end;
  v_how constant text := case
    when v_job.workflow_run_id is not null
      then ' It is a step of a workflow, which does not run twice; the statement tells what became'
        ' of the run.'
    when v_job.is_redacted then ' It was redacted, so nothing is left to run it with.'
    else ' The statement runs it again, as a new run.' end;
  v_finished constant text := runledger._when(v_job.finished_at, _why_finished.now);
begin
  return query
  select null::integer, case when v_job.status = 'SUCCEEDED' then 'why.succeeded'
                 when v_job.status = 'DEAD_LETTERED' then 'why.dead_lettered'
                 when v_job.lease_expires_at > _why_finished.now then 'why.canceled_stopping'
                 else 'why.canceled' end,
         case when v_job.status = 'SUCCEEDED'
           then format('It succeeded %s, on attempt %s of %s, %s after the first began.',
             v_finished, v_job.attempt, v_job.max_attempts,
             runledger._age(v_job.finished_at - v_job.started_at))
         when v_job.status = 'DEAD_LETTERED'
           then format('It failed for good %s, on attempt %s of %s (%s), with %s%s.%s Mend'
             ' the cause first.', v_finished, v_job.attempt, v_job.max_attempts,
             runledger._one_line(v_job.status_reason), v_job.last_error_code,
             ': ' || runledger._one_line(v_job.last_error_message), v_how)
         when v_job.lease_expires_at > _why_finished.now
           then format('It was canceled %s (%s). Its handler may still be at work until it says'
             ' otherwise, at the latest until %s%s.', v_finished,
             runledger._one_line(v_job.status_reason),
             runledger._when(v_job.lease_expires_at, _why_finished.now),
             case when v_job.workflow_run_id is null
               then '; only then can it be run again' end)
         else format('It was canceled %s (%s).%s', v_finished,
             runledger._one_line(v_job.status_reason), v_how) end,
         case when v_job.status = 'DEAD_LETTERED' or v_job.status = 'CANCELED'
                and (v_job.lease_expires_at <= _why_finished.now) is not false then v_again end;
end
$$;

comment on function runledger._why_finished(runledger._job_case, timestamptz) is
  'How a finished job ended, and what runs it again.';
