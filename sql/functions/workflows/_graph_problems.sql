-- Everything that is wrong with a list of steps but cycles, each with its step, in the order of the
-- list. existing: keys of a run to which the steps would be appended.
create or replace function runledger._graph_problems(
  steps runledger._step_item[], existing text[])
returns setof runledger.workflow_problem
language plpgsql stable
as $$
declare
  v_problems runledger.workflow_problem[];
begin
  with step as materialized (
    select s.nth, s.step_key, s.problems, s.after_success || s.after_terminal as waits_for
      from unnest(_graph_problems.steps) as s
  ), known as materialized (
    select s.step_key, min(s.nth) as nth from step as s group by s.step_key
    union
    select e.step_key, 0 from unnest(_graph_problems.existing) as e(step_key)
  ), edge as materialized (
    select s.nth, s.step_key, w.prerequisite,
           row_number() over (partition by s.nth, w.prerequisite order by w.place) as copy
      from step as s
     cross join lateral unnest(s.waits_for) with ordinality as w(prerequisite, place)
  ), problem as (
    select s.nth, s.step_key, p.code
      from step as s
     cross join lateral unnest(s.problems) as p(code)
    union all
    select s.nth, s.step_key, 'duplicate_step_key'
      from step as s
     where exists (select from known as k where k.step_key = s.step_key and k.nth < s.nth)
    union all
    select e.nth, e.step_key, case
             when e.prerequisite !~ '[^[:space:]]' then 'dependency_step_key_blank'
             when e.prerequisite = e.step_key then 'self_dependency'
             when e.copy > 1 then 'duplicate_dependency'
             else 'missing_dependency' end
      from edge as e
     where e.prerequisite !~ '[^[:space:]]' or e.prerequisite = e.step_key or e.copy > 1
        or not exists (select from known as k where k.step_key = e.prerequisite)
  )
  select array_agg(row(p.nth, left(p.step_key, 200), 'workflow.invalid_dag_' || p.code,
           null)::runledger.workflow_problem order by p.nth, p.code)
    into v_problems
    from problem as p;
  if v_problems is not null then
    return query
    select p.ordinal, p.step_key, p.code, c.message
      from unnest(v_problems) as p
      left join runledger.error_codes() as c on c.code = p.code
     order by p.ordinal, p.code;
  end if;
end
$$;

comment on function runledger._graph_problems(runledger._step_item[], text[]) is
  'What is wrong with a list of steps, but for cycles.';
