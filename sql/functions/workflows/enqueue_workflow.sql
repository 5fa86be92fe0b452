-- Start a workflow: a run, its steps and edges, and the jobs of the steps that wait for nothing, in
-- a constant number of statements.
--
-- Locks:  none that anybody else waits for; a keyed call waits for a concurrent one with its key.
-- Writes: workflow_runs, workflow_steps, workflow_step_dependencies, job_queue, job_events.
-- Notifies
--         idle workers.
-- Raises: RL030 workflow.invalid_dag_* with every problem, RL002
--         workflow.definition_not_found_or_disabled, RL011 for metadata,
-- RL013 workflow.unsupported_isolation and RL020 workflow.enqueue_conflicting_retry for
--         keyed
--         calls. A refused workflow writes nothing.
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
set enable_seqscan = off set jit = off set plan_cache_mode = auto
set enable_nestloop = on
as $$
declare
  v_now timestamptz := runledger._now();
  v_items runledger._step_item[];
  v_request jsonb;
  v_run runledger.enqueued_workflow;
begin
  perform runledger._check_workflow(enqueue_workflow.workflow_type, enqueue_workflow.metadata,
    enqueue_workflow.idempotency_key, enqueue_workflow.active_key);
  v_items := runledger._decode_steps(enqueue_workflow.steps);
  perform runledger._require_graph(v_items, '{}');
  if enqueue_workflow.result_step is not null and not exists (
    select from unnest(v_items) as i where i.step_key = enqueue_workflow.result_step) then
    perform runledger._raise('workflow.invalid_dag_result_step_unknown');
  end if;
  v_request := jsonb_strip_nulls(jsonb_build_object('active_key', enqueue_workflow.active_key,
      'result_step', enqueue_workflow.result_step))
    || jsonb_build_object('metadata', coalesce(enqueue_workflow.metadata, '{}'),
      'steps', runledger._workflow_request(v_items, enqueue_workflow.organization_id));
  -- Between a rival's key and our look at it the rival may be gone: look again, a few times.
  for v_round in 1..10 loop
    v_run := runledger._existing_workflow(enqueue_workflow.workflow_type,
      enqueue_workflow.organization_id, enqueue_workflow.idempotency_key,
      enqueue_workflow.active_key, v_request);
    if v_run.workflow_run_id is not null then
      return v_run;
    end if;
    insert into runledger.workflow_runs
      (id, workflow_type, organization_id, idempotency_key, active_key, active_key_held, metadata,
       enqueue_request, result_step_key, steps_total, steps_active, started_at, created_at,
         updated_at)
    values (runledger._uuidv7(), enqueue_workflow.workflow_type, enqueue_workflow.organization_id,
      enqueue_workflow.idempotency_key, enqueue_workflow.active_key,
      enqueue_workflow.active_key is not null, coalesce(enqueue_workflow.metadata, '{}'), v_request,
      enqueue_workflow.result_step, cardinality(v_items), cardinality(v_items), v_now, v_now, v_now)
    on conflict do nothing
    returning id into v_run.workflow_run_id;
    if v_run.workflow_run_id is not null then
      perform runledger._require_step_types(v_items);
      perform runledger._grow_run(v_run.workflow_run_id, enqueue_workflow.organization_id, v_items,
        v_now);
      select r.id, 'INSERTED', r.status into v_run
        from runledger.workflow_runs as r where r.id = v_run.workflow_run_id;
      return v_run;
    end if;
  end loop;
  perform runledger._raise('workflow.enqueue_conflict_missing_existing');
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
