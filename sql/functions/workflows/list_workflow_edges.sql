-- Which step of a run waits for which, and how that stands. Under a tenant the run must be its own;
-- of a step that was given to another tenant no edges are told, and as a prerequisite it has
-- neither key nor status, only that it is there.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor; no row for a run of another tenant.
create or replace function runledger.list_workflow_edges(
  workflow_run_id uuid, after_dependent integer default null,
  after_prerequisite integer default null, max_rows integer default 100,
  organization_id uuid default null)
returns setof runledger.workflow_edge
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_tenant constant uuid := list_workflow_edges.organization_id;
begin
  perform runledger._check_count(
    list_workflow_edges.max_rows, 'max_rows', 'job.invalid_pagination');
  if (list_workflow_edges.after_dependent is null)
    <> (list_workflow_edges.after_prerequisite is null) then
    perform runledger._raise('job.invalid_cursor');
  end if;
  if not runledger._run_in_scope(list_workflow_edges.workflow_run_id, v_tenant) then
    return;
  end if;
  -- Step by step in their order, so that a page reads as many edges as it has, and no more.
  return query
  select d.workflow_run_id, d.ordinal, d.step_key, p.ordinal,
         case when p.is_visible then p.step_key end, p.release_mode,
         case when p.is_visible then p.status end, not p.is_visible
    from runledger.workflow_steps as d
   cross join lateral (
     select s.ordinal, s.step_key, s.status::text as status, e.release_mode::text as release_mode,
            v_tenant is null or s.organization_id is not distinct from v_tenant as is_visible
       from runledger.workflow_step_dependencies as e
       join runledger.workflow_steps as s on s.id = e.prerequisite_step_id
      where e.dependent_step_id = d.id
        and (d.ordinal > coalesce(list_workflow_edges.after_dependent, -1)
             or s.ordinal > list_workflow_edges.after_prerequisite)
      order by s.ordinal) as p
   where d.workflow_run_id = list_workflow_edges.workflow_run_id
     and d.ordinal >= coalesce(list_workflow_edges.after_dependent, -1)
     and (v_tenant is null or d.organization_id = v_tenant)
   order by d.ordinal, p.ordinal limit list_workflow_edges.max_rows;
end
$$;

comment on function runledger.list_workflow_edges(uuid, integer, integer, integer, uuid) is
  'The edges of a run, by dependent and prerequisite in the order of the steps. For the next page '
  'give dependent_ordinal and prerequisite_ordinal of the last edge as after_dependent and '
  'after_prerequisite. prerequisite_is_hidden: it belongs to another tenant. At most 1000 rows a '
  'page.';
