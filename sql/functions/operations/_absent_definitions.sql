-- A schedule outside the catalog may still start jobs of a type; so may one inside, if the type
-- alone was taken out of the list.
create or replace function runledger._absent_definitions(
  catalog text, plan runledger._catalog_entry[], now timestamptz)
returns setof runledger._catalog_entry
language plpgsql stable
as $$
declare
  v_old runledger.job_definitions;
  v_new runledger.job_definitions;
  v_used text[];
  v_code text;
begin
  v_used := array(
    select distinct t.job_type
      from runledger.job_schedules as s
      full join (select e.name, e.schedule from unnest(_absent_definitions.plan) as e
                  where e.kind = 'SCHEDULE' and e.action <> 'REFUSED') as p on p.name = s.name
     cross join unnest(case when p.name is null
       then runledger._schedule_types(s.job_type, s.workflow_steps)
       else runledger._schedule_types((p.schedule).job_type, (p.schedule).workflow_steps)
       end) as t(job_type)
     where case when p.name is null then s.is_active else (p.schedule).is_active end);
  for v_old in
    select d.* from runledger.job_definitions as d
     where d.catalog = _absent_definitions.catalog and d.absent_at is null
       and not exists (select from unnest(_absent_definitions.plan) as e
                        where e.kind = 'JOB_TYPE' and e.name = d.job_type)
     order by d.job_type
  loop
    v_new := v_old;
    v_code := case when v_old.is_enabled and v_old.job_type = any (v_used)
      then 'job_definition.active_schedule_exists' end;
    if v_code is null then
      v_new.absent_at := _absent_definitions.now;
      if v_old.is_enabled then
        v_new.is_enabled := false;
        v_new.disabled_at := _absent_definitions.now;
        v_new.disabled_by := runledger._caller();
        v_new.disabled_reason := 'no longer listed by catalog ' || v_old.catalog;
      end if;
    end if;
    return next row('JOB_TYPE', v_old.job_type,
      case when v_code is not null then 'REFUSED'
           when v_old.is_enabled then 'DISABLED' else 'UPDATED' end,
      runledger._setting_changes(
        runledger._definition_settings(v_old), runledger._definition_settings(v_new)),
      v_code, v_new, null, null)::runledger._catalog_entry;
  end loop;
end
$$;

comment on function runledger._absent_definitions(
  text, runledger._catalog_entry[], timestamptz) is
  'What becomes of the job types that a catalog listed and lists no more; plan has the rest.';
