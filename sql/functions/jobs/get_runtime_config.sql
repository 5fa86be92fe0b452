-- The settings that handlers of a type read at run time, if there are any.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL005 access.job_type_not_granted; no row if there are none.
create or replace function runledger.get_runtime_config(job_type text)
returns setof runledger.runtime_config_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._require_granted(
    array[get_runtime_config.job_type], runledger._granted_types('{worker,operator}'));
  return query
  select c.job_type, c.schema_version, c.config, c.updated_by, c.updated_at
    from runledger.job_runtime_configs as c
   where c.job_type = get_runtime_config.job_type;
end
$$;

comment on function runledger.get_runtime_config(text) is
  'The runtime config of a job type, or no row; runtime_config() raises instead.';
