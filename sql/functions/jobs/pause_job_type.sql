-- Stop claiming jobs of a type. New ones are accepted and wait; running ones end as they will.
--
-- Locks:  the definition row.
-- Writes: job_definitions, operator_actions; nothing when it is so already.
-- Raises: RL001 job.definition_not_found, RL010 job.invalid_reason.
create or replace function runledger.pause_job_type(job_type text, reason text default null)
returns runledger.job_definition
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return runledger._switch_definition(
    pause_job_type.job_type, 'paused', true, pause_job_type.reason);
end
$$;

comment on function runledger.pause_job_type(text, text) is
  'Claim no job of this type until resume_job_type. Returns the definition.';
