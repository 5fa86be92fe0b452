-- Refuse new jobs of a type. Jobs that are queued still run; pause_job_type stops those.
--
-- Locks:  the definition row.
-- Writes: job_definitions, operator_actions; nothing when it is so already.
-- Raises: RL001 job.definition_not_found, RL004 job_definition.active_schedule_exists,
--         RL010 job.invalid_reason.
create or replace function runledger.disable_job_type(job_type text, reason text default null)
returns runledger.job_definition
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._switch_definition(
    disable_job_type.job_type, 'enabled', false, disable_job_type.reason);
end
$$;

comment on function runledger.disable_job_type(text, text) is
  'Refuse new jobs of this type from now on; queued ones still run. Returns the definition.';
