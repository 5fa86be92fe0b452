-- The steps of one run in topological order, without their JSON bodies. Under a tenant the run
-- must be its own, and steps that were given to another tenant are left out.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination; no row for a run of another tenant.
create or replace function runledger.list_workflow_steps(
  workflow_run_id uuid, after_ordinal integer default null, max_rows integer default 100,
  organization_id uuid default null)
returns setof runledger.workflow_step_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._check_count(
    list_workflow_steps.max_rows, 'max_rows', 'job.invalid_pagination');
  if not runledger._run_in_scope(
    list_workflow_steps.workflow_run_id, list_workflow_steps.organization_id) then
    return;
  end if;
  return query
  select s.workflow_run_id, s.ordinal, s.step_key, s.execution_kind::text, s.status::text, s.job_id,
         s.job_type, s.organization_id, s.priority, s.max_attempts, s.timeout_seconds, s.stage,
         s.allow_continuation, s.gate_timeout_seconds, s.on_timeout, s.gate_expires_at,
         s.dependency_count_total, s.dependency_count_pending, s.dependency_count_unsatisfied,
         s.status_reason, s.last_error_code, s.last_error_message,
         s.released_at, s.started_at, s.finished_at, s.created_at, s.updated_at
    from runledger.workflow_steps as s
   where s.workflow_run_id = list_workflow_steps.workflow_run_id
     and s.ordinal > coalesce(list_workflow_steps.after_ordinal, -1)
     and (list_workflow_steps.organization_id is null
          or s.organization_id = list_workflow_steps.organization_id)
   order by s.ordinal limit list_workflow_steps.max_rows;
end
$$;

comment on function runledger.list_workflow_steps(uuid, integer, integer, uuid) is
  'The steps of a run, prerequisites first. For the next page give the last ordinal as '
  'after_ordinal. One step with its bodies: get_workflow_step(). At most 1000 rows a page.';
