-- Make the job types and schedules of a named set what the code that owns the set says, exactly.
-- Everything in one transaction.
--
-- Locks:  the catalog (advisory), schedule rows by name, definitions by type; waits for each at
--         most as long as the limit catalog_lock_seconds says, or the caller's lock_timeout if that
--         is shorter. None for a dry run.
-- Writes: job_definitions, job_schedules, operator_actions; nothing where nothing changes, nor in a
--         dry run.
-- Raises: RL010 catalog.*, job.invalid_batch, job.invalid_item, job.invalid_job_type,
--         job_schedule.invalid_name, RL013 catalog.unsupported_isolation,
--         RL021 catalog.changed_meanwhile; with strict the code of the first refused entry.
create or replace function runledger.sync_catalog(
  catalog     text,
  definitions jsonb,
  schedules   jsonb default '[]',
  dry_run     boolean default false,
  strict      boolean default false
)
returns setof runledger.catalog_change
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set plan_cache_mode = auto set enable_nestloop = on
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_entries runledger._catalog_entry[];
  v_refused runledger._catalog_entry;
begin
  perform runledger._check_catalog(
    sync_catalog.catalog, sync_catalog.definitions, sync_catalog.schedules);
  v_entries := array(
    select runledger._decode_definition(d.item)
      from jsonb_array_elements(sync_catalog.definitions) as d(item)
     order by d.item ->> 'job_type')
    || array(
    select runledger._decode_schedule(s.item, v_now)
      from jsonb_array_elements(sync_catalog.schedules) as s(item)
     order by s.item ->> 'name');
  if sync_catalog.dry_run is false then
    perform runledger._require_read_committed('catalog.unsupported_isolation');
    v_entries := runledger._sync_catalog(sync_catalog.catalog, v_entries, v_now);
  else
    v_entries := runledger._plan_catalog(sync_catalog.catalog, v_entries, v_now);
  end if;
  if sync_catalog.strict then
    select e.* into v_refused
      from unnest(v_entries) as e
     where e.action = 'REFUSED'
     order by e.kind, e.name collate "C" limit 1;
    if found then
      perform runledger._raise(v_refused.code, jsonb_build_object(
        'kind', v_refused.kind, 'name', v_refused.name));
    end if;
  end if;
  return query
  select e.kind, e.name, e.action, e.changes, e.code
    from unnest(v_entries) as e
   order by e.kind, e.name collate "C";
end
$$;

comment on function runledger.sync_catalog(text, jsonb, jsonb, boolean, boolean) is
  'Make the job types and schedules of a catalog exactly what is listed. definitions: objects with '
  'the parameters of define_job, without is_enabled; schedules: those of upsert_schedule. A '
  'setting that is left out is the default, whatever was stored. What the catalog listed before '
  'and lists no more is disabled (a type; REFUSED while an active schedule uses it) or paused (a '
  'schedule), and RESTORED when it returns. What an operator disabled or paused stays so. Entries '
  'of another catalog are REFUSED, those of nobody are taken over. An entry that makes no sense is '
  'REFUSED alone, or with strict raises. dry_run tells the same and writes nothing.';
