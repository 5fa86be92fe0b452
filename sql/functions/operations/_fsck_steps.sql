-- W2-W4, W13: a step by itself. CHECK and unique constraints hold them, too, while they stand.
create or replace function runledger._fsck_steps(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_steps.workflow_run_id;
begin
  -- W2: a step that waits for nothing is not blocked: nobody would ever let it go.
  -- W3: a released step has all that it needs.
  -- W4: kind, status and job agree, and so do status and finished_at.
  return query
  with checked as (
    select s.*, v.invariant
      from runledger.workflow_steps as s
     cross join lateral (
       select 'W2' as invariant where s.status = 'BLOCKED' and s.dependency_count_pending = 0
       union all
       select 'W3' where s.status not in ('BLOCKED', 'CANCELED')
         and (s.dependency_count_pending > 0 or s.dependency_count_unsatisfied > 0)
       union all
       select 'W4' where (s.status in ('SUCCEEDED', 'FAILED', 'CANCELED'))
             <> (s.finished_at is not null)
          or (s.execution_kind = 'EXTERNAL'
              and (s.job_id is not null or s.status in ('ENQUEUED', 'RUNNING')))
          or (s.execution_kind = 'JOB' and (s.status = 'WAITING_FOR_EXTERNAL'
              or (s.job_id is null and s.status not in ('BLOCKED', 'CANCELED'))
              or (s.job_id is not null and s.status = 'BLOCKED')))) as v
     where v_run is null or s.workflow_run_id = v_run
  ), placed as (
    select c.*, count(*) over (partition by c.invariant) as violations,
           row_number() over (
             partition by c.invariant order by c.workflow_run_id, c.ordinal) as nth
      from checked as c
  )
  select p.invariant, 'ERROR', 'step ' || p.id, jsonb_build_object(
           'workflow_run_id', p.workflow_run_id, 'kind', p.execution_kind, 'status', p.status,
           'job_id', p.job_id, 'pending', p.dependency_count_pending,
           'unsatisfied', p.dependency_count_unsatisfied, 'finished_at', p.finished_at,
           'violations', p.violations),
         runledger._fsck_run_repair(p.workflow_run_id)
    from placed as p
   where p.nth <= _fsck_steps.max_rows
   order by p.invariant, p.nth;
  -- W13: a key and a place in the order are taken once in a run.
  return query
  with shared as (
    select s.workflow_run_id, array_agg(s.id order by s.id) as ids
      from runledger.workflow_steps as s
     where v_run is null or s.workflow_run_id = v_run
     group by s.workflow_run_id, s.step_key having count(*) > 1
    union all
    select s.workflow_run_id, array_agg(s.id order by s.id)
      from runledger.workflow_steps as s
     where v_run is null or s.workflow_run_id = v_run
     group by s.workflow_run_id, s.ordinal having count(*) > 1
  )
  select 'W13', 'ERROR', 'step ' || h.ids[1], jsonb_build_object(
           'workflow_run_id', h.workflow_run_id, 'steps', cardinality(h.ids),
           'step_ids', h.ids[:10], 'violations', count(*) over ()),
         runledger._fsck_look_at_run(h.workflow_run_id)
    from shared as h
   order by h.ids[1] limit _fsck_steps.max_rows;
end
$$;

comment on function runledger._fsck_steps(uuid, integer) is
  'Invariants W2 to W4 and W13: steps by themselves.';
