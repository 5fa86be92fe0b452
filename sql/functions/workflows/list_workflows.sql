-- Runs, newest first. Page by giving the last workflow_run_id as before_id.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, workflow.invalid_status.
create or replace function runledger.list_workflows(
  workflow_type text default null, status text default null, organization_id uuid default null,
  created_after timestamptz default null, created_before timestamptz default null,
  before_id uuid default null, max_rows integer default 100)
returns setof runledger.workflow_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform runledger._check_count(list_workflows.max_rows, 'max_rows', 'job.invalid_pagination');
  if list_workflows.status not in ('RUNNING', 'WAITING_FOR_EXTERNAL', 'SUCCEEDED',
    'COMPLETED_WITH_ERRORS', 'CANCELED') then
    perform runledger._raise('workflow.invalid_status');
  end if;
  return query
  select r.id, r.workflow_type, r.organization_id, r.status::text, r.steps_total, r.steps_active,
         r.steps_waiting, r.steps_failed, r.steps_succeeded, r.status_reason, r.started_at,
         r.finished_at, r.created_at
    from runledger.workflow_runs as r
   where r.id < coalesce(list_workflows.before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff')
     and r.workflow_type = coalesce(list_workflows.workflow_type, r.workflow_type)
     and (list_workflows.status is null or r.status::text = list_workflows.status)
     and (list_workflows.organization_id is null
          or r.organization_id = list_workflows.organization_id)
     and r.created_at > coalesce(list_workflows.created_after, '-infinity')
     and r.created_at < coalesce(list_workflows.created_before, 'infinity')
   order by r.id desc limit list_workflows.max_rows;
end
$$;

comment on function runledger.list_workflows(
  text, text, uuid, timestamptz, timestamptz, uuid, integer) is
  'Runs, newest first, filtered by exact type, status, tenant and time of creation. For the next '
  'page give the last workflow_run_id as before_id. At most 1000 rows a page.';
