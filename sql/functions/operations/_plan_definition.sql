-- What somebody disabled stays disabled, with his name and reason; only what a sync disabled itself
-- (disabled_at is absent_at) comes back. A type that its catalog no longer lists may change hands.
create or replace function runledger._plan_definition(
  entry runledger._catalog_entry, old runledger.job_definitions, catalog text)
returns runledger._catalog_entry
language plpgsql stable
as $$
declare
  v_old constant runledger.job_definitions := _plan_definition.old;
  v_entry runledger._catalog_entry := _plan_definition.entry;
  v_new runledger.job_definitions := v_entry.definition;
begin
  if v_old.catalog <> _plan_definition.catalog and v_old.absent_at is null then
    v_entry.code := coalesce(v_entry.code, 'job_definition.owned_by_another_catalog');
  end if;
  if v_entry.code is not null then
    v_entry.action := 'REFUSED';
    return v_entry;
  end if;
  v_new.catalog := _plan_definition.catalog;
  v_new.is_enabled := true;
  v_entry.action := 'INSERTED';
  if v_old.job_type is not null then
    if v_old.disabled_at is distinct from v_old.absent_at then
      v_new.is_enabled := v_old.is_enabled;
      v_new.disabled_at := v_old.disabled_at;
      v_new.disabled_by := v_old.disabled_by;
      v_new.disabled_reason := v_old.disabled_reason;
    end if;
    v_entry.changes := runledger._setting_changes(
      runledger._definition_settings(v_old), runledger._definition_settings(v_new));
    v_entry.action := case when v_entry.changes = '{}' then 'UNCHANGED'
      when v_new.is_enabled and not v_old.is_enabled then 'RESTORED' else 'UPDATED' end;
  end if;
  v_entry.definition := v_new;
  return v_entry;
end
$$;

comment on function runledger._plan_definition(
  runledger._catalog_entry, runledger.job_definitions, text) is
  'What becomes of a job type that a catalog lists; old is NULL if it is new.';
