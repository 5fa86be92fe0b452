create or replace view runledger.workflows with (security_barrier) as
  select r.id as workflow_run_id, r.workflow_type, r.status::text as status,
         r.steps_succeeded || '/' || r.steps_total as done, r.steps_failed as failed,
         r.steps_waiting as gates,
         date_trunc('second', coalesce(r.finished_at, statement_timestamp()) - r.started_at) as age
    from runledger.workflow_runs as r
   where r.pruned_at is null;

comment on view runledger.workflows is 'Every workflow run. workflow_tree(id) shows its steps.';
comment on column runledger.workflows.workflow_run_id is 'The run.';
comment on column runledger.workflows.workflow_type is 'Its type.';
comment on column runledger.workflows.status is 'Where it stands.';
comment on column runledger.workflows.done is 'Steps succeeded, of all.';
comment on column runledger.workflows.failed is 'Steps failed or canceled.';
comment on column runledger.workflows.gates is 'Gates that wait to be completed.';
comment on column runledger.workflows.age is 'How long it has been going on, or took.';
