-- One sync of a catalog at a time: what it owns is known only while no other changes that.
-- lock_timeout is set to the smaller of ours and the caller's, and put back: the schedules that a
-- sync holds do not fire while it waits.
create or replace function runledger._sync_catalog(
  catalog text, entries runledger._catalog_entry[], now timestamptz)
returns runledger._catalog_entry[]
language plpgsql volatile
as $$
declare
  v_before constant text := current_setting('lock_timeout');
  v_bound constant bigint := runledger._limit('catalog_lock_seconds');
  v_entries runledger._catalog_entry[];
begin
  if v_before = '0' or v_before::interval > make_interval(secs => v_bound) then
    perform set_config('lock_timeout', v_bound || 's', true);
  end if;
  perform pg_advisory_xact_lock(
    hashtext('runledger.catalog'), hashtext(_sync_catalog.catalog));
  -- Whoever deletes a listed schedule meanwhile goes first: let go of everything, and begin anew.
  for v_round in 1..10 loop
    begin
      v_entries := runledger._lock_catalog(
        _sync_catalog.catalog, _sync_catalog.entries, _sync_catalog.now);
      exit;
    exception when sqlstate 'RL021' then
      if v_round = 10 then
        raise;
      end if;
    end;
  end loop;
  v_entries := runledger._plan_catalog(_sync_catalog.catalog, v_entries, _sync_catalog.now);
  perform runledger._apply_catalog(_sync_catalog.catalog, v_entries, _sync_catalog.now);
  perform set_config('lock_timeout', v_before, true);
  return v_entries;
end
$$;

comment on function runledger._sync_catalog(text, runledger._catalog_entry[], timestamptz) is
  'Lock, decide and write what sync_catalog was given.';
