-- Which job types have a runtime config.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_runtime_configs(
  contains text default null, after_type text default null, max_rows integer default 100)
returns setof runledger.runtime_config_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._check_count(
    list_runtime_configs.max_rows, 'max_rows', 'job.invalid_pagination');
  return query
  select c.job_type, c.schema_version, runledger._json_bytes(c.config)::integer, c.updated_by,
         c.created_at, c.updated_at
    from runledger.job_runtime_configs as c
   where c.job_type > coalesce(list_runtime_configs.after_type, '')
     and (list_runtime_configs.contains is null
          or runledger._contains(c.job_type, list_runtime_configs.contains))
   order by c.job_type limit list_runtime_configs.max_rows;
end
$$;

comment on function runledger.list_runtime_configs(text, text, integer) is
  'The job types that have a runtime config, ordered by name, without the config itself: that is '
  'runtime_config(). contains: part of the name, no wildcards. For the next page give the last '
  'job_type as after_type. At most 1000 rows a page.';
