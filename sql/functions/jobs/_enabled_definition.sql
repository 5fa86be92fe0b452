-- A plain read: a lock on this row by every enqueue would make it the hottest row of the database.
-- An enqueue that began before a disable committed may still insert.
create or replace function runledger._enabled_definition(job_type text)
returns runledger.job_definitions
language plpgsql stable
as $$
declare
  v_definition runledger.job_definitions;
begin
  select d.* into v_definition
    from runledger.job_definitions as d
   where d.job_type = _enabled_definition.job_type and d.is_enabled;
  if not found then
    perform runledger._raise('job.definition_not_found_or_disabled',
      jsonb_build_object('job_type', left(_enabled_definition.job_type, 200)));
  end if;
  return v_definition;
end
$$;

comment on function runledger._enabled_definition(text) is
  'The definition of a type that takes new jobs; raises job.definition_not_found_or_disabled.';
