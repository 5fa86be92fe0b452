-- Start what a schedule starts, for the instant of its cursor, unless that was done before: an
-- operator may have moved the cursor back. Jobs are known by (schedule_id, scheduled_for), runs by
-- a key.
create or replace function runledger._start_fire(
  schedule runledger.job_schedules, now timestamptz)
returns runledger.fired_schedule
language plpgsql volatile
as $$
declare
  v_schedule constant runledger.job_schedules := _start_fire.schedule;
  v_at constant timestamptz := v_schedule.next_fire_at;
  v_payload constant jsonb := runledger._fire_payload(
    v_schedule.payload_template, v_schedule.id, v_schedule.name, v_at);
  v_fired runledger.fired_schedule := row(
    v_schedule.name, null, null, v_at, null, 'FIRED', null);
  v_definition runledger.job_definitions;
  v_key text;
begin
  if v_schedule.workflow_type is not null then
    v_key := 'schedule/' || v_schedule.id || '/' || (v_payload #>> '{_schedule,scheduled_for}');
    -- Not by _start_workflow: what the template says now may be another request.
    v_fired.workflow_run_id := runledger._run_of_key(
      v_schedule.workflow_type, v_schedule.organization_id, v_key);
    if v_fired.workflow_run_id is not null then
      v_fired.disposition := 'SKIPPED';
      v_fired.code := 'ALREADY_FIRED';
      return v_fired;
    end if;
    -- Whoever fires need not be granted the types: the schedule was made by one who is.
    v_fired.workflow_run_id := (runledger._start_workflow(v_schedule.workflow_type,
      v_schedule.workflow_steps, v_payload, v_schedule.organization_id, v_key, null, null,
      null)).workflow_run_id;
    return v_fired;
  end if;
  v_definition := runledger._enabled_definition(v_schedule.job_type);
  insert into runledger.job_queue
    (id, job_type, organization_id, payload, priority, max_attempts, timeout_seconds, next_run_at,
     stage, schedule_id, scheduled_for, created_at, updated_at)
  values (runledger._uuidv7(), v_schedule.job_type, v_schedule.organization_id, v_payload,
    v_definition.default_priority, v_definition.max_attempts,
    v_definition.default_timeout_seconds, _start_fire.now, 'scheduled', v_schedule.id, v_at,
    _start_fire.now, _start_fire.now)
  on conflict do nothing
  returning id into v_fired.job_id;
  if v_fired.job_id is null then
    v_fired.disposition := 'SKIPPED';
    v_fired.code := 'ALREADY_FIRED';
    select q.id into v_fired.job_id from runledger.job_queue as q
     where q.schedule_id = v_schedule.id and q.scheduled_for = v_at;
    return v_fired;
  end if;
  insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
  values (v_fired.job_id, 1, 'ENQUEUED', 'scheduled',
    jsonb_build_object('job_type', v_schedule.job_type), _start_fire.now);
  return v_fired;
end
$$;

comment on function runledger._start_fire(runledger.job_schedules, timestamptz) is
  'Start the job or the workflow of a schedule for the instant of its cursor, once.';
