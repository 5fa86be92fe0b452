-- What a sync comes to, decided before anything is written: so a dry run tells what the real one
-- does. Types that are no longer listed come last: whether one can go depends on what the schedules
-- come to.
create or replace function runledger._plan_catalog(
  catalog text, entries runledger._catalog_entry[], now timestamptz)
returns runledger._catalog_entry[]
language plpgsql volatile
as $$
declare
  v_entry runledger._catalog_entry;
  v_definition runledger.job_definitions;
  v_schedule runledger.job_schedules;
  v_plan runledger._catalog_entry[] := '{}';
  v_enabled jsonb;
begin
  foreach v_entry in array _plan_catalog.entries loop
    continue when v_entry.kind <> 'JOB_TYPE';
    select d.* into v_definition from runledger.job_definitions as d
     where d.job_type = v_entry.name and v_entry.action is null;
    v_plan := v_plan || runledger._plan_definition(
      v_entry, v_definition, _plan_catalog.catalog);
  end loop;
  select coalesce(jsonb_object_agg(d.job_type, d.is_enabled), '{}') into v_enabled
    from runledger.job_definitions as d;
  select v_enabled || coalesce(jsonb_object_agg(e.name, (e.definition).is_enabled), '{}')
    into v_enabled
    from unnest(v_plan) as e where e.action <> 'REFUSED';
  foreach v_entry in array _plan_catalog.entries loop
    continue when v_entry.kind <> 'SCHEDULE';
    select s.* into v_schedule from runledger.job_schedules as s
     where s.name = v_entry.name and v_entry.action is null;
    v_plan := v_plan || runledger._plan_schedule(
      v_entry, v_schedule, _plan_catalog.catalog, v_enabled, _plan_catalog.now);
  end loop;
  v_plan := v_plan || array(
    select p from runledger._absent_schedules(
      _plan_catalog.catalog, v_plan, _plan_catalog.now) as p);
  return v_plan || array(
    select p from runledger._absent_definitions(
      _plan_catalog.catalog, v_plan, _plan_catalog.now) as p);
end
$$;

comment on function runledger._plan_catalog(text, runledger._catalog_entry[], timestamptz) is
  'What becomes of each entry of a catalog, and of what it no longer lists. Writes nothing.';
