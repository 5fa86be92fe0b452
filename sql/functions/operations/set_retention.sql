-- Say how long run_maintenance keeps what is finished. NULL keeps what is set, '0' means for ever.
--
-- Locks:  the row of the settings.
-- Writes: retention_settings, operator_actions; nothing if all is as it was.
-- Raises: RL010 operations.invalid_retention.
create or replace function runledger.set_retention(
  finished interval default null, dead_letters interval default null, history interval default null)
returns runledger.retention_record
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := runledger._now();
  v_days constant bigint := runledger._limit('horizon_days');
  v_old runledger.retention_record;
begin
  if not runledger._is_age(set_retention.finished)
    or not runledger._is_age(set_retention.dead_letters)
    or not runledger._is_age(set_retention.history) then
    perform runledger._raise('operations.invalid_retention',
      jsonb_build_object('max_days', v_days));
  end if;
  v_old := runledger.retention();
  insert into runledger.retention_settings
    (finished, dead_letters, history, updated_by, updated_at)
  values (v_old.finished, v_old.dead_letters, v_old.history, runledger._caller(), v_now)
  on conflict do nothing;
  if not found then
    -- What was before is what the rival left for whom this call has waited.
    perform from runledger.retention_settings as s where s.only_row for no key update;
    v_old := runledger.retention();
  end if;
  update runledger.retention_settings as s
     set finished = coalesce(set_retention.finished, s.finished),
         dead_letters = coalesce(set_retention.dead_letters, s.dead_letters),
         history = coalesce(set_retention.history, s.history),
         updated_by = runledger._caller(), updated_at = v_now
   where (s.finished, s.dead_letters, s.history) is distinct from (
           coalesce(set_retention.finished, s.finished),
           coalesce(set_retention.dead_letters, s.dead_letters),
           coalesce(set_retention.history, s.history));
  if found then
    perform runledger._record_action('set_retention', null, null, jsonb_build_object(
      'before', to_jsonb(v_old) - '{updated_at,history_begins_at}'::text[],
      'finished', set_retention.finished, 'dead_letters', set_retention.dead_letters,
      'history', set_retention.history));
  end if;
  return runledger.retention();
end
$$;

comment on function runledger.set_retention(interval, interval, interval) is
  'How long run_maintenance keeps finished jobs and runs, dead-lettered jobs (and runs with such a '
  'job), and events with log lines: up to 3650 days each; NULL keeps what is set, 0 means for '
  'ever. Events and log lines go by whole days. Returns what holds now.';
