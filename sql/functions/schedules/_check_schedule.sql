-- Raise unless these are proper arguments of upsert_schedule. The template is measured as it is
-- sent: with _schedule, which always takes the same room.
create or replace function runledger._check_schedule(
  schedule runledger.job_schedules, next_fire_at timestamptz, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_new constant runledger.job_schedules := _check_schedule.schedule;
begin
  if not runledger._is_name(v_new.name, runledger._limit('name_bytes'))
    or v_new.name ~ '^[[:space:]]|[[:space:]]$' then
    perform runledger._raise('job_schedule.invalid_name');
  elsif num_nonnulls(v_new.job_type, v_new.workflow_type) <> 1
    or (v_new.workflow_type is null) <> (v_new.workflow_steps is null) then
    perform runledger._raise('job_schedule.invalid_target');
  elsif not coalesce(v_new.max_jitter_seconds between 0
    and runledger._limit('jitter_seconds'), false) then
    perform runledger._raise('job_schedule.invalid_jitter');
  elsif v_new.missed is null or v_new.missed not in ('ONCE', 'SKIP', 'ALL') then
    perform runledger._raise('job_schedule.invalid_missed');
  elsif not (_check_schedule.next_fire_at >= '1970-01-01 00:00Z'
    and _check_schedule.next_fire_at <= runledger._horizon(_check_schedule.now)) then
    perform runledger._raise('job_schedule.invalid_instant');
  end if;
  perform runledger._check_timezone(v_new.timezone);
  if v_new.job_type is not null then
    perform runledger._checked_json(runledger._fire_payload(v_new.payload_template, v_new.id,
      v_new.name, _check_schedule.now), runledger._limit('payload_bytes'), 'payload');
  else
    perform runledger._check_workflow(v_new.workflow_type, runledger._fire_payload(
      v_new.payload_template, v_new.id, v_new.name, _check_schedule.now), null, null);
    perform runledger._require_graph(runledger._decode_steps(v_new.workflow_steps), '{}');
  end if;
end
$$;

comment on function runledger._check_schedule(
  runledger.job_schedules, timestamptz, timestamptz) is
  'Raise unless these are proper settings of a schedule; its cron expression apart.';
