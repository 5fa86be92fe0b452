-- Add steps to a run that is going on, while a gate of it (the append window) waits. New steps may
-- wait for old ones, finished or not, and for each other; old steps gain no prerequisites.
--
-- Locks:  the run.
-- Writes: workflow_run_mutations, workflow_steps, workflow_step_dependencies, workflow_runs,
--         job_queue, job_events. Notifies idle workers. A refused append writes nothing.
-- Raises: RL001 workflow.run_not_found, workflow.append_window_missing,
--         RL002 workflow.definition_not_found_or_disabled, RL005 access.job_type_not_granted,
--         RL004 workflow.append_terminal_run,
--         workflow.append_window_not_external, workflow.append_window_not_open,
--         RL010 workflow.append_mutation_key_blank, RL011 for metadata,
--         RL013 workflow.unsupported_isolation, RL020 workflow.append_conflicting_retry, RL030.
create or replace function runledger.append_workflow_steps(
  workflow_run_id uuid,
  mutation_key    text,
  append_window   text,
  steps           jsonb,
  metadata        jsonb default '{}',
  organization_id uuid default null
)
returns setof runledger.appended_step
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
set enable_nestloop = on
as $$
declare
  v_now timestamptz;
  v_items runledger._step_item[];
  v_run runledger.workflow_runs;
  v_sorted runledger._step_order;
  v_disposition text := 'ALREADY_APPLIED';
  v_keys text[];
  v_request jsonb;
begin
  perform runledger._require_read_committed('workflow.unsupported_isolation');
  if not runledger._is_name(append_workflow_steps.mutation_key, runledger._limit('key_bytes')) then
    perform runledger._raise('workflow.append_mutation_key_blank');
  end if;
  perform runledger._checked_json(
    append_workflow_steps.metadata, runledger._limit('metadata_bytes'), 'metadata');
  v_items := runledger._decode_steps(append_workflow_steps.steps);
  perform runledger._require_granted(array(
    select i.job_type from unnest(v_items) as i where i.job_type is not null),
    runledger._granted_types('{producer,operator}'));
  v_run := runledger._lock_run(
    append_workflow_steps.workflow_run_id, append_workflow_steps.organization_id);
  v_now := runledger._now();
  v_request := jsonb_build_object('append_window', append_workflow_steps.append_window,
    'steps', runledger._workflow_request(v_items, v_run.organization_id));
  -- Before the window is looked at: a retry is recognised also when the gate has closed.
  v_keys := runledger._past_append(v_run.id, append_workflow_steps.mutation_key, v_request);
  if v_keys is null then
    v_disposition := 'APPENDED';
    v_keys := array(select i.step_key from unnest(v_items) as i order by i.nth);
    perform runledger._require_append_window(v_run, append_workflow_steps.append_window);
    v_sorted := runledger._require_appended_graph(v_run, v_items);
    insert into runledger.workflow_run_mutations
      (workflow_run_id, mutation_key, append_window, metadata, request, step_keys, created_at)
    values (v_run.id, append_workflow_steps.mutation_key, append_workflow_steps.append_window,
      coalesce(append_workflow_steps.metadata, '{}'), v_request, v_keys, v_now);
    update runledger.workflow_runs as r
       set steps_total = r.steps_total + cardinality(v_items), status = 'RUNNING',
           steps_active = r.steps_active + cardinality(v_items), updated_at = v_now
     where r.id = v_run.id;
    perform runledger._grow_run(v_run.id, v_run.organization_id, v_items, v_sorted, v_now);
  end if;
  return query
  select s.workflow_run_id, s.step_key, s.status::text, v_disposition
    from unnest(v_keys) with ordinality as k(step_key, nth)
    join runledger.workflow_steps as s
      on s.workflow_run_id = v_run.id and s.step_key = k.step_key
   order by k.nth;
end
$$;

comment on function runledger.append_workflow_steps(uuid, text, text, jsonb, jsonb, uuid) is
  'Add steps (as in enqueue_workflow) to a run while its gate append_window waits. A row per '
  'step, in order: disposition APPENDED; with the same mutation_key and the same steps again '
  'ALREADY_APPLIED, also after the gate has closed.';
