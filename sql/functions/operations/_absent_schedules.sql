create or replace function runledger._absent_schedules(
  catalog text, plan runledger._catalog_entry[], now timestamptz)
returns setof runledger._catalog_entry
language plpgsql stable
as $$
declare
  v_old runledger.job_schedules;
  v_new runledger.job_schedules;
begin
  for v_old in
    select s.* from runledger.job_schedules as s
     where s.catalog = _absent_schedules.catalog and s.absent_at is null
       and not exists (select from unnest(_absent_schedules.plan) as e
                        where e.kind = 'SCHEDULE' and e.name = s.name)
     order by s.name
  loop
    v_new := v_old;
    v_new.absent_at := _absent_schedules.now;
    if v_old.is_active then
      v_new.is_active := false;
      v_new.paused_at := _absent_schedules.now;
      v_new.paused_by := runledger._caller();
      v_new.paused_reason := 'no longer listed by catalog ' || v_old.catalog;
    end if;
    return next row('SCHEDULE', v_old.name,
      case when v_old.is_active then 'PAUSED' else 'UPDATED' end,
      runledger._setting_changes(
        runledger._schedule_settings(v_old), runledger._schedule_settings(v_new)),
      null, null, v_new, null)::runledger._catalog_entry;
  end loop;
end
$$;

comment on function runledger._absent_schedules(
  text, runledger._catalog_entry[], timestamptz) is
  'What becomes of the schedules that a catalog listed and lists no more.';
