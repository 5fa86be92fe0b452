-- Job types by name.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_job_definitions(
  contains text default null, after_type text default null, max_rows integer default 100)
returns setof runledger.job_definition
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._check_count(
    list_job_definitions.max_rows, 'max_rows', 'job.invalid_pagination');
  return query
  select d.job_type, d.version, d.max_attempts, d.default_timeout_seconds, d.default_priority,
         d.is_enabled, d.disabled_reason, d.is_paused, d.paused_reason, d.max_concurrency,
         d.retry_base_ms, d.retry_max_ms, d.retry_delays_ms, d.created_at, d.updated_at
    from runledger.job_definitions as d
   where d.job_type > coalesce(list_job_definitions.after_type, '')
     and (list_job_definitions.contains is null
          or runledger._contains(d.job_type, list_job_definitions.contains))
   order by d.job_type limit list_job_definitions.max_rows;
end
$$;

comment on function runledger.list_job_definitions(text, text, integer) is
  'The job types, ordered by name; contains: those whose name has these letters, upper and lower '
  'case alike, no wildcards. For the next page give the last job_type as after_type. At most 1000 '
  'rows a page.';
