-- Runs, newest first. Page by giving the last workflow_run_id as before_id.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, workflow.invalid_status.
create or replace function runledger.list_workflows(
  workflow_type text default null, status text default null, organization_id uuid default null,
  created_after timestamptz default null, created_before timestamptz default null,
  before_id uuid default null, max_rows integer default 100, contains text default null)
returns setof runledger.workflow_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_before constant uuid := coalesce(
    list_workflows.before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
begin
  perform runledger._check_count(list_workflows.max_rows, 'max_rows', 'job.invalid_pagination');
  if list_workflows.status not in ('RUNNING', 'WAITING_FOR_EXTERNAL', 'SUCCEEDED',
    'COMPLETED_WITH_ERRORS', 'CANCELED') then
    perform runledger._raise('workflow.invalid_status');
  end if;
  -- Two statements: "tenant is null or equal" would keep the index of one tenant from being used.
  if list_workflows.organization_id is null then
    return query
    select s.* from runledger._workflow_summaries as s
     where s.workflow_run_id < v_before
       and s.workflow_type = coalesce(list_workflows.workflow_type, s.workflow_type)
       and s.status = coalesce(list_workflows.status, s.status)
       and (list_workflows.contains is null
            or runledger._contains(s.workflow_type, list_workflows.contains))
       and s.created_at > coalesce(list_workflows.created_after, '-infinity')
       and s.created_at < coalesce(list_workflows.created_before, 'infinity')
     order by s.workflow_run_id desc limit list_workflows.max_rows;
  else
    return query
    select s.* from runledger._workflow_summaries as s
     where s.organization_id = list_workflows.organization_id and s.workflow_run_id < v_before
       and s.workflow_type = coalesce(list_workflows.workflow_type, s.workflow_type)
       and s.status = coalesce(list_workflows.status, s.status)
       and (list_workflows.contains is null
            or runledger._contains(s.workflow_type, list_workflows.contains))
       and s.created_at > coalesce(list_workflows.created_after, '-infinity')
       and s.created_at < coalesce(list_workflows.created_before, 'infinity')
     order by s.workflow_run_id desc limit list_workflows.max_rows;
  end if;
end
$$;

comment on function runledger.list_workflows(
  text, text, uuid, timestamptz, timestamptz, uuid, integer, text) is
  'Runs, newest first, filtered by exact type, status, tenant and time of creation; contains: '
  'part of the name of the type, no wildcards. For the next page give the last workflow_run_id as '
  'before_id. created_after and created_before leave that very instant out. At most 1000 rows a '
  'page.';
