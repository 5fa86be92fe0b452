-- Claim jobs of a paused type again, and wake the workers that wait for them.
--
-- Locks:  the definition row.
-- Writes: job_definitions, operator_actions; nothing when it is so already.
-- Raises: RL001 job.definition_not_found.
create or replace function runledger.resume_job_type(job_type text)
returns runledger.job_definition
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform runledger._wake(array[resume_job_type.job_type], runledger._now());
  return runledger._switch_definition(resume_job_type.job_type, 'paused', false, null);
end
$$;

comment on function runledger.resume_job_type(text) is
  'Claim jobs of this type again. Returns the definition.';
