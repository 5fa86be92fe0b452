create or replace view runledger._workflow_summaries as
  select r.id as workflow_run_id, r.workflow_type, r.organization_id, r.status::text as status,
         r.steps_total, r.steps_active, r.steps_waiting, r.steps_failed, r.steps_succeeded,
         r.status_reason, r.started_at, r.finished_at, r.created_at
    from runledger.workflow_runs as r
   where r.pruned_at is null;

comment on view runledger._workflow_summaries is
  'Runs in the shape of workflow_summary. Internal: read the view workflows.';
