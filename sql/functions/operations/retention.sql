-- How long what is kept.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.retention()
returns runledger.retention_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_set runledger.retention_settings;
begin
  select s.* into v_set from runledger.retention_settings as s;
  return row(coalesce(v_set.finished, '14 days'), coalesce(v_set.dead_letters, '90 days'),
    coalesce(v_set.history, '14 days'), v_set.updated_by, v_set.updated_at,
    (select max(p.history_begins_at) from runledger.prune_passes as p)
  )::runledger.retention_record;
end
$$;

comment on function runledger.retention() is
  'How long run_maintenance keeps finished jobs and runs (14 days unless set), dead letters (90 '
  'days), events and log lines (14 days); 0 means for ever. history_begins_at: events before it '
  'may be gone.';
