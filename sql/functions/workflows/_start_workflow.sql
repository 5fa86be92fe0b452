-- Start a workflow for whoever may: of a caller, by enqueue_workflow, or of a schedule. The caller
-- pins the settings for its plans.
create or replace function runledger._start_workflow(
  workflow_type text, steps jsonb, metadata jsonb, organization_id uuid, idempotency_key text,
  active_key text, result_step text, granted text[])
returns runledger.enqueued_workflow
language plpgsql volatile
as $$
declare
  v_now timestamptz := runledger._now();
  v_items runledger._step_item[];
  v_sorted runledger._step_order;
  v_request jsonb;
  v_run runledger.enqueued_workflow;
begin
  perform runledger._check_workflow(_start_workflow.workflow_type, _start_workflow.metadata,
    _start_workflow.idempotency_key, _start_workflow.active_key);
  v_items := runledger._decode_steps(_start_workflow.steps);
  v_sorted := runledger._require_graph(v_items, '{}');
  perform runledger._require_granted(array(
    select i.job_type from unnest(v_items) as i where not i.is_external), _start_workflow.granted);
  if _start_workflow.result_step is not null and not exists (
    select from unnest(v_items) as i where i.step_key = _start_workflow.result_step) then
    perform runledger._raise('workflow.invalid_dag_result_step_unknown');
  end if;
  if _start_workflow.idempotency_key is not null then
    v_request := jsonb_strip_nulls(jsonb_build_object('active_key', _start_workflow.active_key,
        'result_step', _start_workflow.result_step))
      || jsonb_build_object('metadata', coalesce(_start_workflow.metadata, '{}'),
        'steps', runledger._workflow_request(v_items, _start_workflow.organization_id));
  end if;
  -- Between a rival's key and our look at it the rival may be gone: look again, a few times.
  for v_round in 1..10 loop
    v_run := runledger._existing_workflow(_start_workflow.workflow_type,
      _start_workflow.organization_id, _start_workflow.idempotency_key,
      _start_workflow.active_key, v_request);
    if v_run.workflow_run_id is not null then
      return v_run;
    end if;
    insert into runledger.workflow_runs
      (id, workflow_type, organization_id, idempotency_key, active_key, active_key_held, metadata,
       enqueue_request, result_step_key, steps_total, steps_active, started_at, created_at,
         updated_at)
    values (runledger._uuidv7(), _start_workflow.workflow_type, _start_workflow.organization_id,
      _start_workflow.idempotency_key, _start_workflow.active_key,
      _start_workflow.active_key is not null, coalesce(_start_workflow.metadata, '{}'), v_request,
      _start_workflow.result_step, cardinality(v_items), cardinality(v_items), v_now, v_now, v_now)
    on conflict do nothing
    returning id into v_run.workflow_run_id;
    if v_run.workflow_run_id is not null then
      perform runledger._require_step_types(v_items);
      perform runledger._grow_run(v_run.workflow_run_id, _start_workflow.organization_id, v_items,
        v_sorted, v_now);
      select r.id, 'INSERTED', r.status into v_run
        from runledger.workflow_runs as r where r.id = v_run.workflow_run_id;
      return v_run;
    end if;
  end loop;
  perform runledger._raise('workflow.enqueue_conflict_missing_existing');
end
$$;

comment on function runledger._start_workflow(
  text, jsonb, jsonb, uuid, text, text, text, text[]) is
  'Start a workflow whose job types all are among granted; NULL: any.';
