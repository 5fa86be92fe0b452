create or replace view runledger.workflow_step_status with (security_barrier) as
  select s.workflow_run_id, s.step_key, coalesce(s.job_type, '(gate)') as job_type,
         s.status::text as status, s.dependency_count_pending as waits_for,
         q.attempt || '/' || q.max_attempts as attempt, left(s.last_error_code, 24) as error
    from runledger.workflow_steps as s
    left join runledger.job_queue as q on q.id = s.job_id
   where not exists (select from runledger.workflow_runs as r
          where r.id = s.workflow_run_id and r.pruned_at is not null);

comment on view runledger.workflow_step_status is 'Every step of every workflow run.';
comment on column runledger.workflow_step_status.workflow_run_id is 'The run.';
comment on column runledger.workflow_step_status.step_key is 'The step.';
comment on column runledger.workflow_step_status.job_type is 'Type of its job; (gate) for a gate.';
comment on column runledger.workflow_step_status.status is 'Where it stands.';
comment on column runledger.workflow_step_status.waits_for is
  'Prerequisites that are not finished.';
comment on column runledger.workflow_step_status.attempt is 'Attempt of its job, of how many.';
comment on column runledger.workflow_step_status.error is 'Code of its failure.';
