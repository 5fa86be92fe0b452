-- Schedules before definitions, each by name; what is new is inserted before anything is locked, so
-- it waits only for others who insert the same. New types come first of all, because schedules
-- refer to them: nobody else can see those rows, let alone lock them. What is inserted here is only
-- a place; _apply_catalog fills or removes it. Returned are the entries, action INSERTED where
-- there is a new place.
create or replace function runledger._lock_catalog(
  catalog text, entries runledger._catalog_entry[], now timestamptz)
returns runledger._catalog_entry[]
language plpgsql volatile
as $$
declare
  v_entries runledger._catalog_entry[] := _lock_catalog.entries;
  v_place runledger.job_schedules;
  v_locked text[];
begin
  for v_n in 1..cardinality(v_entries) loop
    v_place := (v_entries[v_n]).schedule;
    if (v_entries[v_n]).code is not null then
      null;
    elsif (v_entries[v_n]).kind = 'JOB_TYPE' then
      insert into runledger.job_definitions (job_type, created_at, updated_at)
      values ((v_entries[v_n]).name, _lock_catalog.now, _lock_catalog.now)
      on conflict do nothing;
      if found then
        v_entries[v_n].action := 'INSERTED';
      end if;
    elsif v_place.job_type is null or exists (
      select from runledger.job_definitions as d where d.job_type = v_place.job_type) then
      v_place.is_active := false;
      if runledger._insert_schedule(v_place, _lock_catalog.now) then
        v_entries[v_n].action := 'INSERTED';
      end if;
    else
      v_entries[v_n].action := 'REFUSED';
    end if;
  end loop;
  v_locked := array(
    select s.name from runledger.job_schedules as s
     where s.catalog = _lock_catalog.catalog
        or s.name = any (array(select e.name from unnest(v_entries) as e
                                where e.kind = 'SCHEDULE'))
     order by s.name for no key update);
  for v_n in 1..cardinality(v_entries) loop
    if (v_entries[v_n]).kind = 'JOB_TYPE' or (v_entries[v_n]).code is not null
      or (v_entries[v_n]).action = 'INSERTED' then
      null;
    elsif (v_entries[v_n]).name = any (v_locked) then
      v_entries[v_n].action := null;
    elsif (v_entries[v_n]).action = 'REFUSED' then
      v_entries[v_n].code := 'job_schedule.definition_not_found_or_disabled';
    else
      -- It was there and is not any more; to make it now would be against the order of locks.
      perform runledger._raise('catalog.changed_meanwhile');
    end if;
  end loop;
  perform d.job_type from runledger.job_definitions as d
    where d.catalog = _lock_catalog.catalog
       or d.job_type = any (array(
            select e.name from unnest(v_entries) as e where e.kind = 'JOB_TYPE'
            union
            select t.job_type from unnest(v_entries) as e
             cross join unnest(runledger._schedule_types(
               (e.schedule).job_type, (e.schedule).workflow_steps)) as t(job_type)))
    order by d.job_type for no key update;
  return v_entries;
end
$$;

comment on function runledger._lock_catalog(text, runledger._catalog_entry[], timestamptz) is
  'Lock what a sync may touch, and make places for what is new.';
