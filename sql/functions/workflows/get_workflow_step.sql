-- Everything about one step, its bodies too: what whoever completes a gate has to know.
--
-- Locks:  none.
-- Writes: operator_actions; nothing on a standby.
-- Raises: nothing; no row if there is none, or if run or step belong to another tenant.
create or replace function runledger.get_workflow_step(
  workflow_run_id uuid, step_key text, organization_id uuid default null)
returns setof runledger.workflow_step_record
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._record_read('get_workflow_step', get_workflow_step.workflow_run_id::text,
    jsonb_build_object('step_key', left(get_workflow_step.step_key, 200)));
  return query
  select s.workflow_run_id, s.ordinal, s.step_key, s.execution_kind::text, s.status::text, s.job_id,
         s.job_type, s.organization_id, s.priority, s.max_attempts, s.timeout_seconds, s.stage,
         s.allow_continuation, s.gate_timeout_seconds, s.on_timeout, s.gate_expires_at,
         s.dependency_count_total, s.dependency_count_pending, s.dependency_count_unsatisfied,
         s.status_reason, s.last_error_code, s.last_error_message,
         s.payload, s.output, s.released_at, s.started_at, s.finished_at, s.created_at,
         s.updated_at
    from runledger.workflow_steps as s
   where s.workflow_run_id = get_workflow_step.workflow_run_id
     and s.step_key = get_workflow_step.step_key
     and (get_workflow_step.organization_id is null
          or s.organization_id = get_workflow_step.organization_id)
     and runledger._run_in_scope(
           get_workflow_step.workflow_run_id, get_workflow_step.organization_id);
end
$$;

comment on function runledger.get_workflow_step(uuid, text, uuid) is
  'Everything about one step of a run, or no row. It shows bodies, so that it was read stands in '
  'operator_actions.';
