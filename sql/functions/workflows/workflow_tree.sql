-- A run to read in psql: its steps in an order in which they could run, indented by level, each
-- with its state, attempt, age and what it waits for. One line per step, whatever its key holds.
-- With a tenant the run must be its own, and steps that were given to another one are left out.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 workflow.run_not_found (also for another tenant).
create or replace function runledger.workflow_tree(
  workflow_run_id uuid, organization_id uuid default null)
returns setof text
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_tenant constant uuid := workflow_tree.organization_id;
  v_now timestamptz := runledger._now();
  v_run runledger.workflow_runs;
begin
  select r.* into v_run
    from runledger.workflow_runs as r
   where r.id = workflow_tree.workflow_run_id and r.pruned_at is null
     and (v_tenant is null or r.organization_id = v_tenant);
  if not found then
    perform runledger._raise('workflow.run_not_found',
      jsonb_build_object('workflow_run_id', workflow_tree.workflow_run_id));
  end if;
  return next format('%s  %s  %s/%s done, %s failed  %s',
    translate(v_run.workflow_type, E'\n\r\t', '   '), v_run.status, v_run.steps_succeeded,
    v_run.steps_total, v_run.steps_failed,
    runledger._age(coalesce(v_run.finished_at, v_now) - v_run.started_at));
  return query
  select translate(repeat('  ', least(t.level, 20) + 1)
         -- rpad cuts what is longer.
         || rpad(t.step_key, greatest(length(t.step_key), 34 - 2 * t.level))
         || ' ' || rpad(t.status::text, 20)
         || case when q.id is not null then format(' attempt %s/%s', q.attempt, q.max_attempts)
           else '' end
         || ' ' || runledger._age(coalesce(t.finished_at, v_now)
                                  - coalesce(t.started_at, t.released_at, t.created_at))
         || case when t.status = 'BLOCKED' then ' waits for ' || coalesce(w.keys, 'nothing')
                 when t.status_reason is not null then ' (' || left(t.status_reason, 60) || ')'
                 else '' end, E'\n\r\t', '   ')
    from runledger._step_levels(v_run.id) as t
    left join runledger.job_queue as q on q.id = t.job_id
    left join lateral (
      select string_agg(p.step_key, ', ' order by p.ordinal) as keys
        from (select case when v_tenant is null or o.organization_id = v_tenant then o.step_key
                          else 'a step of another tenant' end as step_key, o.ordinal
                from runledger.workflow_step_dependencies as e
                join runledger.workflow_steps as o on o.id = e.prerequisite_step_id
               where e.dependent_step_id = t.id
                 and o.status not in ('SUCCEEDED', 'FAILED', 'CANCELED')
               order by o.ordinal limit 5) as p) as w on t.status = 'BLOCKED'
   where v_tenant is null or t.organization_id = v_tenant
   order by t.ordinal;
end
$$;

comment on function runledger.workflow_tree(uuid, uuid) is
  'A run as lines of text: state, attempt, age, and what each step waits for. With a tenant only '
  'its own steps.';
