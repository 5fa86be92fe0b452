-- The settings that handlers of a type read at run time.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 job.runtime_config_not_found, RL005 access.job_type_not_granted.
create or replace function runledger.runtime_config(job_type text)
returns runledger.runtime_config_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_row runledger.runtime_config_record;
begin
  perform runledger._require_granted(
    array[runtime_config.job_type], runledger._granted_types('{worker,operator}'));
  select c.job_type, c.schema_version, c.config, c.updated_by, c.updated_at into v_row
    from runledger.job_runtime_configs as c
   where c.job_type = runtime_config.job_type;
  if not found then
    perform runledger._raise('job.runtime_config_not_found',
      jsonb_build_object('job_type', left(runtime_config.job_type, 200)));
  end if;
  return v_row;
end
$$;

comment on function runledger.runtime_config(text) is 'The runtime config of a job type.';
