create or replace function runledger._definition_settings(definition runledger.job_definitions)
returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'version', definition.version, 'max_attempts', definition.max_attempts,
    'timeout_seconds', definition.default_timeout_seconds,
    'priority', definition.default_priority, 'max_concurrency', definition.max_concurrency,
    'retry_base_ms', definition.retry_base_ms, 'retry_max_ms', definition.retry_max_ms,
    'retry_delays_ms', definition.retry_delays_ms, 'is_enabled', definition.is_enabled,
    'catalog', definition.catalog, 'is_listed', definition.absent_at is null)
$$;

comment on function runledger._definition_settings(runledger.job_definitions) is
  'What a sync compares of a job type, by the names of define_job.';
