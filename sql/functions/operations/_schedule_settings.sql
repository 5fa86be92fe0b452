create or replace function runledger._schedule_settings(schedule runledger.job_schedules)
returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'job_type', schedule.job_type, 'workflow_type', schedule.workflow_type,
    'steps', schedule.workflow_steps, 'organization_id', schedule.organization_id,
    'payload', schedule.payload_template, 'cron', schedule.cron_expr,
    'timezone', schedule.timezone, 'missed', schedule.missed,
    'max_jitter_seconds', schedule.max_jitter_seconds, 'is_active', schedule.is_active,
    'catalog', schedule.catalog, 'is_listed', schedule.absent_at is null)
$$;

comment on function runledger._schedule_settings(runledger.job_schedules) is
  'What a sync compares of a schedule, by the names of upsert_schedule.';
