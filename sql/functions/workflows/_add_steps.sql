-- Put checked and sorted steps into a run, and let go what waits for nothing. Prerequisites may
-- stand in the same list or be steps of the run already: what is finished counts as it ended, so a
-- step can be born unsatisfied. The caller holds the run row.
create or replace function runledger._add_steps(
  workflow_run_id uuid, organization_id uuid, steps runledger._step_item[],
  sorted runledger._step_order, base integer, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_steps constant uuid := runledger._uuidv7();
  v_jobs constant uuid := runledger._uuidv7();
begin
  with item as materialized (
    select i.*, (_add_steps.sorted).places[i.nth] as place
      from unnest(_add_steps.steps) as i
  ), edge as materialized (
    select i.nth, e.needs_success, p.status in ('SUCCEEDED', 'FAILED', 'CANCELED') as is_finished,
           p.status = 'SUCCEEDED' as has_succeeded
      from item as i
     cross join lateral (
       select k, true from unnest(i.after_success) as k
       union all
       select k, false from unnest(i.after_terminal) as k) as e(step_key, needs_success)
      left join runledger.workflow_steps as p
        on p.workflow_run_id = _add_steps.workflow_run_id and p.step_key = e.step_key
  ), counted as (
    select e.nth, count(*)::integer as total,
           (count(*) filter (where e.is_finished is not true))::integer as pending,
           (count(*) filter (where e.is_finished and e.needs_success
                               and not e.has_succeeded))::integer as unsatisfied
      from edge as e group by e.nth
  ), born as (
    select i.*, coalesce(c.total, 0) as total, coalesce(c.pending, 0) as pending,
           coalesce(c.unsatisfied, 0) as unsatisfied,
           case when c.pending > 0 then 'BLOCKED'
                when c.unsatisfied > 0 then 'CANCELED'
                when i.is_external then 'WAITING_FOR_EXTERNAL'
                else 'ENQUEUED' end::runledger.step_status as status
      from item as i
      left join counted as c on c.nth = i.nth
  )
  insert into runledger.workflow_steps
    (id, workflow_run_id, ordinal, step_key, execution_kind, status, job_id, job_type,
     organization_id, payload, priority, max_attempts, timeout_seconds, stage, allow_continuation,
     gate_timeout_seconds, on_timeout, gate_expires_at, dependency_count_total,
     dependency_count_pending, dependency_count_unsatisfied, status_reason, last_error_code,
     released_at, finished_at, created_at, updated_at)
  select runledger._batch_uuid(v_steps, b.place), _add_steps.workflow_run_id,
         _add_steps.base + b.place, b.step_key,
         case when b.is_external then 'EXTERNAL' else 'JOB'
              end::runledger.workflow_step_execution_kind,
         b.status, case when b.status = 'ENQUEUED' then runledger._batch_uuid(v_jobs, b.place) end,
         b.job_type,
         coalesce(b.organization_id, _add_steps.organization_id), b.payload,
         case when not b.is_external then coalesce(b.priority, d.default_priority) end,
         case when not b.is_external then coalesce(b.max_attempts, d.max_attempts) end,
         case when not b.is_external then coalesce(b.timeout_seconds, d.default_timeout_seconds)
           end,
         case when not b.is_external then coalesce(b.stage, 'queued') end, b.allow_continuation,
         case when b.is_external then b.timeout_seconds end, b.on_timeout,
         case when b.status = 'WAITING_FOR_EXTERNAL'
              then _add_steps.now + make_interval(secs => b.timeout_seconds) end,
         b.total, b.pending, b.unsatisfied,
         case when b.status = 'CANCELED' then 'workflow.dependency_unsatisfied' end,
         case when b.status = 'CANCELED' then 'workflow.dependency_unsatisfied' end,
         case when b.status in ('ENQUEUED', 'WAITING_FOR_EXTERNAL') then _add_steps.now end,
         case when b.status = 'CANCELED' then _add_steps.now end, _add_steps.now, _add_steps.now
    from born as b
    left join runledger.job_definitions as d on d.job_type = b.job_type
   order by b.place;
end
$$;

comment on function runledger._add_steps(
  uuid, uuid, runledger._step_item[], runledger._step_order, integer, timestamptz) is
  'Insert steps into a run with their counters and their first status.';
