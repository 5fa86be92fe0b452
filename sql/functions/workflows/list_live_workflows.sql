-- Runs that are not finished, by their own index: however many have finished since.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_live_workflows(
  contains text default null, after_id uuid default null, max_rows integer default 100,
  organization_id uuid default null)
returns setof runledger.workflow_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform runledger._check_count(
    list_live_workflows.max_rows, 'max_rows', 'job.invalid_pagination');
  return query
  select r.id, r.workflow_type, r.organization_id, r.status::text, r.steps_total, r.steps_active,
         r.steps_waiting, r.steps_failed, r.steps_succeeded, r.status_reason, r.started_at,
         r.finished_at, r.created_at
    from runledger.workflow_runs as r
   where r.status in ('RUNNING', 'WAITING_FOR_EXTERNAL')
     and r.id > coalesce(
       list_live_workflows.after_id, '00000000-0000-0000-0000-000000000000')
     and (list_live_workflows.contains is null
          or runledger._contains(r.workflow_type, list_live_workflows.contains))
     and (list_live_workflows.organization_id is null
          or r.organization_id = list_live_workflows.organization_id)
   order by r.id limit list_live_workflows.max_rows;
end
$$;

comment on function runledger.list_live_workflows(text, uuid, integer, uuid) is
  'The workflow runs that are not finished, the oldest first; contains: of types with these '
  'letters in their name. For the next page give the last workflow_run_id as after_id. At most '
  '1000 rows a page.';
