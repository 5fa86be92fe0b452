create or replace function runledger._definition(job_type text)
returns runledger.job_definition
language sql stable
as $$
  select row(d.job_type, d.version, d.max_attempts, d.default_timeout_seconds, d.default_priority,
             d.is_enabled, d.disabled_reason, d.is_paused, d.paused_reason, d.max_concurrency,
             d.retry_base_ms, d.retry_max_ms, d.retry_delays_ms, d.created_at, d.updated_at
         )::runledger.job_definition
    from runledger.job_definitions as d
   where d.job_type = _definition.job_type
$$;

comment on function runledger._definition(text) is 'One job type in its public shape, or NULL.';
