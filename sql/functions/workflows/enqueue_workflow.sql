-- Start a workflow: a run, its steps and edges, and the jobs of the steps that wait for nothing, in
-- a constant number of statements.
--
-- Locks:  none that anybody else waits for; a keyed call waits for a concurrent one with its key.
-- Writes: workflow_runs, workflow_steps, workflow_step_dependencies, job_queue, job_events.
--         Notifies idle workers.
-- Raises: RL030 workflow.invalid_dag_* with every problem, RL002
--         workflow.definition_not_found_or_disabled, RL005 access.job_type_not_granted,
--         RL011 for metadata; for keyed calls RL013 workflow.unsupported_isolation, RL020
--         workflow.enqueue_conflicting_retry, and RL021 if the run that had the key is gone
--         meanwhile: call again. A refused workflow writes nothing.
create or replace function runledger.enqueue_workflow(
  workflow_type   text,
  steps           jsonb,
  metadata        jsonb default '{}',
  organization_id uuid default null,
  idempotency_key text default null,
  active_key      text default null,
  result_step     text default null
)
returns runledger.enqueued_workflow
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
set enable_nestloop = on
as $$
begin
  return runledger._start_workflow(enqueue_workflow.workflow_type, enqueue_workflow.steps,
    enqueue_workflow.metadata, enqueue_workflow.organization_id, enqueue_workflow.idempotency_key,
    enqueue_workflow.active_key, enqueue_workflow.result_step,
    runledger._granted_types('{producer,operator}'));
end
$$;

comment on function runledger.enqueue_workflow(text, jsonb, jsonb, uuid, text, text, text) is
  'Start a workflow. steps: array of {key, job_type | external: true, payload, after_success: '
  '[keys], after_terminal: [keys], priority, max_attempts, timeout_seconds, stage, '
  'organization_id, allow_continuation, on_timeout}. after_success: runs only if that step '
  'succeeded, else it is canceled; after_terminal: runs whatever became of it. external: a gate, '
  'completed by complete_external_step; its timeout_seconds and on_timeout (SUCCEEDED, FAILED, '
  'CANCELED) end it by themselves. result_step: its output becomes the result. idempotency_key: '
  'the same request again gives the same run. active_key: at most one live run per key and '
  'tenant; a second call gives it (EXISTING_ACTIVE). At most 10000 steps and 200000 edges a call.';
