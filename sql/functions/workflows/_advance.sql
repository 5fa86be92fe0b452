-- Steps have finished: tell their dependents, level by level, until nothing more is decided. A
-- dependent is decided when its last prerequisite finishes: released, or canceled if one that had
-- to succeed did not; a canceled one then is a finished prerequisite itself. The caller holds the
-- rows of all runs concerned, so nobody else decides; a canceled run lets nothing go. A constant
-- number of statements per level, whatever the number of steps and runs. Callers force generic
-- plans: planning anew takes ten times as long as a level of a chain. What moved is gathered in two
-- steps, since || copies what it adds to: in a chain of 10,000 levels that must not be all of it.
create or replace function runledger._advance(finished runledger._finished_step[], now timestamptz)
returns runledger._finished_step[]
language plpgsql volatile
as $$
declare
  v_level runledger._finished_step[] := _advance.finished;
  v_moved runledger._finished_step[] := '{}';
  v_recent runledger._finished_step[] := '{}';
  v_next runledger._finished_step[];
  v_enqueued uuid[];
  v_waiting runledger._finished_step[];
  v_base uuid;
begin
  while cardinality(v_level) > 0 loop
    v_base := runledger._uuidv7();
    with touched as materialized (
      select e.dependent_step_id as id, count(*)::integer as finished,
             (count(*) filter (where e.release_mode = 'ON_SUCCESS'
                                 and f.status <> 'SUCCEEDED'))::integer as unsatisfied,
             row_number() over ()::integer as nth
        from unnest(v_level) as f
       cross join lateral (select x.* from runledger.workflow_step_dependencies as x
          where x.workflow_run_id = f.workflow_run_id and x.prerequisite_step_id = f.step_id
         offset 0) as e
       group by e.dependent_step_id
    ), told as (
      update runledger.workflow_steps as s
         set dependency_count_pending = s.dependency_count_pending - t.finished,
             dependency_count_unsatisfied = s.dependency_count_unsatisfied + t.unsatisfied,
             status = d.status, updated_at = _advance.now,
             job_id = case when d.status = 'ENQUEUED' then runledger._batch_uuid(v_base, t.nth)
                           else s.job_id end,
             released_at = case when d.status in ('ENQUEUED', 'WAITING_FOR_EXTERNAL')
                                then _advance.now else s.released_at end,
             gate_expires_at = case when d.status = 'WAITING_FOR_EXTERNAL'
               then _advance.now + make_interval(secs => s.gate_timeout_seconds) end,
             status_reason = coalesce(c.code, s.status_reason),
             last_error_code = coalesce(c.code, s.last_error_code),
             finished_at = case when c.code is null then s.finished_at else _advance.now end
        from touched as t join runledger.workflow_steps as o on o.id = any (array[t.id])
       cross join lateral (select case when o.status <> 'BLOCKED' then o.status
               when o.dependency_count_pending > t.finished then 'BLOCKED'
               when o.dependency_count_unsatisfied + t.unsatisfied > 0 then 'CANCELED'
               when o.execution_kind = 'EXTERNAL' then 'WAITING_FOR_EXTERNAL'
               else 'ENQUEUED' end::runledger.step_status) as d(status)
       cross join lateral (select case when d.status = 'CANCELED' and o.status = 'BLOCKED'
               then 'workflow.dependency_unsatisfied' end) as c(code)
       where s.id = any (array[o.id])
      returning row(s.id, s.workflow_run_id, s.status)::runledger._finished_step as step,
                s.id, s.status, o.status as before
    )
    select array_agg(t.step) filter (where t.status = 'CANCELED'),
           array_agg(t.id) filter (where t.status = 'ENQUEUED'),
           array_agg(t.step) filter (where t.status = 'WAITING_FOR_EXTERNAL')
      into v_next, v_enqueued, v_waiting
      from told as t
     where t.before = 'BLOCKED';
    if v_enqueued is not null then
      perform runledger._enqueue_steps(v_enqueued, _advance.now);
    end if;
    v_recent := v_recent || v_waiting || v_next;
    if cardinality(v_recent) > 200 then
      v_moved := v_moved || v_recent;
      v_recent := '{}';
    end if;
    v_level := v_next;
  end loop;
  return v_moved || v_recent;
end
$$;

comment on function runledger._advance(runledger._finished_step[], timestamptz) is
  'Tell the dependents of finished steps: release, cancel, cascade. Returns the dependents that '
  'are not active any more: gates that opened and steps that were canceled.';
