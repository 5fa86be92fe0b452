-- Ask to be told when a run finishes: LISTEN runledger_run, call this, and if the run is not
-- finished wait for a notification with its id, or look again. Asking is what makes the
-- notification; runs that nobody waits for send none.
--
-- Locks:  the run.
-- Writes: workflow_runs, only while the run is not finished and nobody waits as long.
-- Raises: RL001 workflow.run_not_found, RL010 worker.invalid_idle_time.
create or replace function runledger.await_workflow(
  workflow_run_id uuid, until timestamptz, organization_id uuid default null)
returns runledger.workflow_outcome
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
begin
  if await_workflow.until is null
    or await_workflow.until > v_now + make_interval(secs => runledger._limit('idle_seconds')) then
    perform runledger._raise('worker.invalid_idle_time',
      jsonb_build_object('max_seconds', runledger._limit('idle_seconds')));
  end if;
  update runledger.workflow_runs as r
     set awaited_until = await_workflow.until
   where r.id = await_workflow.workflow_run_id and r.finished_at is null
     and (await_workflow.organization_id is null
          or r.organization_id = await_workflow.organization_id)
     and (r.awaited_until is null or r.awaited_until < await_workflow.until);
  return runledger.workflow_result(
    await_workflow.workflow_run_id, await_workflow.organization_id);
end
$$;

comment on function runledger.await_workflow(uuid, timestamptz, uuid) is
  'Ask for a notification on runledger_run (payload: the id of the run) when the run finishes, '
  'until that instant (at most an hour ahead). Returns how it stands, like workflow_result.';
