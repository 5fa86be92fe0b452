-- Why a run is not done: the run itself, then its steps, those first that can move, then those that
-- wait for them, then failures, then what is done. The first 20 open jobs are asked as why does,
-- for the others stands the statement that asks. At most 1000 steps, and a row for the rest. Under
-- a tenant the run must be its own, and steps that were given to another tenant are left out.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 workflow.run_not_found (also for another tenant).
create or replace function runledger.why_workflow(
  workflow_run_id uuid, organization_id uuid default null)
returns setof runledger.step_reason
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_max constant integer := runledger._limit('max_rows');
  v_total integer := (
    select r.steps_total from runledger.workflow_runs as r
     where r.id = why_workflow.workflow_run_id and r.pruned_at is null
       and (why_workflow.organization_id is null
            or r.organization_id = why_workflow.organization_id));
begin
  if v_total is null then
    perform runledger._raise('workflow.run_not_found',
      jsonb_build_object('workflow_run_id', why_workflow.workflow_run_id));
  end if;
  return query
  with step as materialized (
    select s as facts, s.nth, s.step_key, s.job_id, s.status in ('ENQUEUED', 'RUNNING') as has_job
      from runledger._why_steps(
             why_workflow.workflow_run_id, v_max, why_workflow.organization_id) as s
  ), told as (
    select null::integer as nth, w.place, null::text as step_key, w.code, w.explanation, w.fix
      from runledger._why_run(why_workflow.workflow_run_id, v_now)
           with ordinality as w(rank, code, explanation, fix, place)
    union all
    select s.nth, w.place, s.step_key, w.code, w.explanation, w.fix
      from step as s
     cross join lateral runledger._job_case(s.job_id, why_workflow.organization_id) as c
     cross join lateral runledger._why_job(c, v_now)
           with ordinality as w(rank, code, explanation, fix, place)
     where s.has_job and s.nth <= 20
    union all
    select s.nth, null, s.step_key, w.code, w.explanation, w.fix
      from step as s
     cross join lateral runledger._why_step(why_workflow.workflow_run_id, s.facts, v_now) as w
     where not (s.has_job and s.nth <= 20)
    union all
    select v_total, null, null, 'why.more_steps', format('%s more steps are not told of.',
             v_total - v_max),
           format('select * from runledger.workflow_tree(%L);', why_workflow.workflow_run_id)
     where v_total > v_max
  )
  select (row_number() over (order by t.nth nulls first, t.place))::integer, t.step_key, t.code,
         t.explanation, t.fix
    from told as t
   order by 1;
end
$$;

comment on function runledger.why_workflow(uuid, uuid) is
  'Why a run is not done: of the run (step_key NULL) and of each step, those first that can move, '
  'with a stable code (view why_codes), words, and the statement that mends it. The first 20 open '
  'jobs are told of as why does. At most 1000 steps.';
