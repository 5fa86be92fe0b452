create or replace function runledger._merge_problem(o runledger._outcome, q runledger._held_job)
returns text
language sql stable
as $$
  select case
    when o.done < 0 or o.total < 0
      or coalesce(o.done, q.progress_done) > coalesce(o.total, q.progress_total)
      then 'job.invalid_completion_progress'
    when o.outcome = 'CONTINUE' and q.workflow_run_id is not null and not exists (
      select from runledger.workflow_steps as s where s.job_id = q.id and s.allow_continuation)
      then 'job.workflow_handler_continuation_not_enabled'
  end
$$;

comment on function runledger._merge_problem(runledger._outcome, runledger._held_job) is
  'Why an outcome does not fit the job it is about, or NULL.';
