-- One job type.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing; no row if there is none.
create or replace function runledger.get_job_definition(job_type text)
returns setof runledger.job_definition
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  return query
  select d.job_type, d.version, d.max_attempts, d.default_timeout_seconds, d.default_priority,
         d.is_enabled, d.disabled_reason, d.is_paused, d.paused_reason, d.max_concurrency,
         d.retry_base_ms, d.retry_max_ms, d.retry_delays_ms, d.created_at, d.updated_at
    from runledger.job_definitions as d
   where d.job_type = get_job_definition.job_type;
end
$$;

comment on function runledger.get_job_definition(text) is 'One job type, or no row.';
