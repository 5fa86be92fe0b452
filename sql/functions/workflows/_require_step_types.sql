create or replace function runledger._require_step_types(steps runledger._step_item[])
returns void
language plpgsql stable
as $$
declare
  v_missing text[];
begin
  select array_agg(distinct left(s.job_type, 200)) into v_missing
    from unnest(_require_step_types.steps) as s
   where not s.is_external and not exists (
     select from runledger.job_definitions as d where d.job_type = s.job_type and d.is_enabled);
  if v_missing is not null then
    perform runledger._raise('workflow.definition_not_found_or_disabled',
      jsonb_build_object('job_types', to_jsonb(v_missing[:100])));
  end if;
end
$$;

comment on function runledger._require_step_types(runledger._step_item[]) is
  'Raise unless every job type of these steps takes new jobs.';
