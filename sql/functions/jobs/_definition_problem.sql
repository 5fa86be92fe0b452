create or replace function runledger._definition_problem(definition runledger.job_definitions)
returns text
language sql immutable parallel safe
as $$
  select case
    when definition.version < 1 then 'job_definition.invalid_version'
    when definition.max_attempts not between 1 and runledger._limit('max_attempts')
      then 'job.invalid_max_attempts'
    when definition.default_timeout_seconds not between 1 and runledger._limit('timeout_seconds')
      then 'job.invalid_timeout'
    when definition.max_concurrency not between 0 and runledger._limit('max_concurrency')
      then 'job_definition.invalid_max_concurrency'
    when definition.retry_base_ms < 1 or definition.retry_max_ms < definition.retry_base_ms
      or jsonb_typeof(definition.retry_delays_ms) <> 'object'
      or jsonb_path_exists(definition.retry_delays_ms,
           'strict $.* ? (@.type() != "number" || @ < 1 || @ > 315360000000 || @ != @.floor())')
      then 'job_definition.invalid_retry_policy'
  end
$$;

comment on function runledger._definition_problem(runledger.job_definitions) is
  'Why a job type cannot be stored like this, or NULL.';
