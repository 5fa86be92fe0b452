-- Let a job type accept new jobs again.
--
-- Locks:  the definition row.
-- Writes: job_definitions, operator_actions; nothing when it is so already.
-- Raises: RL001 job.definition_not_found.
create or replace function runledger.enable_job_type(job_type text)
returns runledger.job_definition
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._switch_definition(enable_job_type.job_type, 'enabled', true, null);
end
$$;

comment on function runledger.enable_job_type(text) is
  'Accept new jobs of this type again. Returns the definition.';
