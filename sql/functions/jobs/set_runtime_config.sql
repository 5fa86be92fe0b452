-- Set the settings that handlers of a type read at run time; with if_missing only if there are
-- none.
--
-- Locks:  the config row.
-- Writes: job_runtime_configs, operator_actions; nothing when equal.
-- Raises: RL001 job.definition_not_found, RL010 job_definition.invalid_config, RL011.
create or replace function runledger.set_runtime_config(
  job_type text, config jsonb, schema_version integer default 1,
  if_missing boolean default false)
returns runledger.runtime_config_record
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := runledger._now();
  v_row runledger.runtime_config_record;
begin
  if set_runtime_config.config is null or jsonb_typeof(set_runtime_config.config) <> 'object'
    or coalesce(set_runtime_config.schema_version, 0) < 1 then
    perform runledger._raise('job_definition.invalid_config');
  end if;
  perform runledger._checked_json(
    set_runtime_config.config, runledger._limit('metadata_bytes'), 'config');
  if runledger._definition(set_runtime_config.job_type) is null then
    perform runledger._raise('job.definition_not_found',
      jsonb_build_object('job_type', left(set_runtime_config.job_type, 200)));
  end if;
  insert into runledger.job_runtime_configs as c
    (job_type, schema_version, config, updated_by, created_at, updated_at)
  values (set_runtime_config.job_type, set_runtime_config.schema_version,
          set_runtime_config.config, runledger._caller(), v_now, v_now)
  on conflict on constraint job_runtime_configs_pkey do update
     set schema_version = excluded.schema_version, config = excluded.config,
         updated_by = excluded.updated_by, updated_at = excluded.updated_at
   where not coalesce(set_runtime_config.if_missing, false)
     and (c.schema_version, c.config) is distinct from (excluded.schema_version, excluded.config);
  if found then
    perform runledger._record_action('set_runtime_config', set_runtime_config.job_type, null,
      jsonb_build_object('schema_version', set_runtime_config.schema_version));
  end if;
  select c.job_type, c.schema_version, c.config, c.updated_by, c.updated_at into v_row
    from runledger.job_runtime_configs as c
   where c.job_type = set_runtime_config.job_type;
  return v_row;
end
$$;

comment on function runledger.set_runtime_config(text, jsonb, integer, boolean) is
  'Store the runtime config of a job type, a JSON object of at most 64 KiB; if_missing keeps one '
  'that is there. Returns what is stored.';
