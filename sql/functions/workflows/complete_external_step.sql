-- Complete a gate. The same completion again is recognised and changes nothing; another one is a
-- conflict.
--
-- Locks:  the run.
-- Writes: workflow_steps, workflow_runs; the jobs it lets go; operator_actions, if an operator does
--         it. Notifies idle workers.
-- Raises: RL001 workflow.run_not_found, workflow.external_step_not_found,
--         RL004 workflow.external_step_not_external, workflow.external_step_not_waiting,
--         RL010 workflow.external_step_invalid_terminal_status,
--         workflow.external_step_output_not_allowed, RL011 for output,
--         RL013 workflow.unsupported_isolation,
--         RL020 workflow.external_step_conflicting_completion_retry / _output_retry.
create or replace function runledger.complete_external_step(
  workflow_run_id uuid,
  step_key        text,
  outcome         text default 'SUCCEEDED',
  output          jsonb default null,
  reason          text default null,
  error_code      text default null,
  error_message   text default null,
  organization_id uuid default null
)
returns runledger.completed_step
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_output constant jsonb := nullif(complete_external_step.output, 'null');
  v_run runledger.workflow_runs;
  v_step runledger.workflow_steps;
  v_replayed boolean;
begin
  perform runledger._check_completion(complete_external_step.outcome, v_output,
    complete_external_step.reason, complete_external_step.error_code,
    complete_external_step.error_message);
  v_run := runledger._lock_run(
    complete_external_step.workflow_run_id, complete_external_step.organization_id);
  select s.* into v_step
    from runledger.workflow_steps as s
   where s.workflow_run_id = v_run.id and s.step_key = complete_external_step.step_key
     for no key update;
  if not found then
    perform runledger._raise('workflow.external_step_not_found',
      jsonb_build_object('workflow_run_id', v_run.id));
  elsif v_step.execution_kind <> 'EXTERNAL' then
    perform runledger._raise('workflow.external_step_not_external',
      jsonb_build_object('workflow_run_id', v_run.id, 'step_key', v_step.step_key));
  end if;
  v_replayed := runledger._is_same_completion(v_step, complete_external_step.outcome, v_output,
    complete_external_step.reason, complete_external_step.error_code,
    complete_external_step.error_message);
  if not v_replayed then
    perform runledger._close_gates(array[v_step.id], complete_external_step.outcome, v_output,
      complete_external_step.reason, complete_external_step.error_code,
      complete_external_step.error_message, runledger._now());
    if runledger._is_operator() then
      perform runledger._record_action('complete_external_step', v_run.id::text,
        complete_external_step.reason, jsonb_build_object('step_key', v_step.step_key,
          'outcome', complete_external_step.outcome));
    end if;
  end if;
  return (
    select row(r.id, v_step.step_key, complete_external_step.outcome, v_replayed, r.status
           )::runledger.completed_step
      from runledger.workflow_runs as r
     where r.id = v_run.id);
end
$$;

comment on function runledger.complete_external_step(
  uuid, text, text, jsonb, text, text, text, uuid) is
  'Complete a gate that waits: outcome SUCCEEDED, FAILED or CANCELED, output (with SUCCEEDED '
  'only, given to its dependents), reason and error for people. The same completion again returns '
  'replayed = true.';
