-- At most max_rows steps of a run, those first that can move, then those that wait for others, then
-- failures. Steps that wait come in topological order, so what they wait for is among the rows
-- before them: the path to its root is walked once per step, whatever the number of edges. A step
-- that was canceled because of others has its path too. Steps of another tenant than the one that
-- asks are left out, and not named where others wait for them.
create or replace function runledger._why_steps(run_id uuid, max_rows integer, tenant uuid)
returns setof runledger._step_case
language plpgsql stable
as $$
begin
  return query
  with recursive chosen as materialized (
    select s.id, (row_number() over (order by o.place, s.ordinal))::integer as nth, s.ordinal,
           s.step_key, s.status, s.job_id, s.on_timeout, s.gate_expires_at, s.released_at,
           s.created_at, s.finished_at, s.status_reason, s.last_error_code, s.last_error_message,
           s.dependency_count_pending as pending,
           s.status = 'BLOCKED' or s.status = 'CANCELED' and s.dependency_count_unsatisfied > 0
             and s.status_reason = 'workflow.dependency_unsatisfied' as is_held,
           _why_steps.tenant is null
             or s.organization_id is not distinct from _why_steps.tenant as is_ours
      from runledger.workflow_steps as s
     cross join lateral (select coalesce(array_position(
             array['BLOCKED', 'FAILED', 'CANCELED', 'SUCCEEDED'], s.status::text), 0)) as o(place)
     where s.workflow_run_id = _why_steps.run_id
     order by o.place, s.ordinal limit _why_steps.max_rows
  ), edge as materialized (
    select c.id, p.id as needs_id, p.step_key, p.status, p.is_ours,
           row_number() over (partition by c.id order by p.ordinal) as nth
      from chosen as c
      join runledger.workflow_step_dependencies as e on e.dependent_step_id = c.id
      join chosen as p on p.id = e.prerequisite_step_id
     where c.is_held and case when c.status = 'BLOCKED'
             then p.status not in ('SUCCEEDED', 'FAILED', 'CANCELED')
             else e.release_mode = 'ON_SUCCESS' and p.status in ('FAILED', 'CANCELED') end
  ), because as (
    select e.id, string_agg(case when e.is_ours
               then format('%s (%s)', runledger._one_line(e.step_key), e.status)
             else 'a step of another tenant' end, ', ' order by e.nth) as words
      from edge as e where e.nth <= 5 group by e.id
  ), root as (
    select c.id, c.id as root_id from chosen as c
     where not exists (select from edge as e where e.id = c.id)
    union all
    select e.id, r.root_id from root as r join edge as e on e.needs_id = r.id and e.nth = 1
  )
  select c.nth, c.step_key, c.status, c.job_id, c.on_timeout, c.gate_expires_at, c.released_at,
         c.created_at, c.finished_at, c.status_reason, c.last_error_code, c.last_error_message,
         c.pending, b.words, o.step_key, o.status, o.job_id, o.gate_expires_at
    from chosen as c
    left join because as b on b.id = c.id
    left join root as r on r.id = c.id
    left join chosen as o on o.id = r.root_id and o.is_ours
   where c.is_ours
   order by c.nth;
end
$$;

comment on function runledger._why_steps(uuid, integer, uuid) is
  'What why_workflow looks at of the steps of a run: each with what holds it up, and the root of '
  'that.';
