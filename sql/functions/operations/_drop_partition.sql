-- Dropping needs both the partition and its parent for a moment, and everybody who writes events
-- queues up behind whoever waits for the parent: so it waits 200 ms at most, and only once a pass.
-- lock_timeout is set to the smaller of ours and the caller's, and put back. A partition that
-- cannot be dropped, because somebody's view reads it for example, is left standing: it must not
-- keep maintenance from everything else. health() tells how late it is.
create or replace function runledger._drop_partition(caller text, now timestamptz)
returns integer
language plpgsql volatile
as $$
declare
  v_before constant text := current_setting('lock_timeout');
  v_name text;
  v_dropped integer;
begin
  select runledger._oldest_partition(p.history_older_than, _drop_partition.now) into v_name
    from runledger.prune_passes as p where p.caller = _drop_partition.caller;
  if v_name is null then
    return 0;
  end if;
  if v_before = '0' or v_before::interval > interval '200 ms' then
    perform set_config('lock_timeout', '200ms', true);
  end if;
  begin
    execute format('drop table runledger.%I', v_name);
    v_dropped := 1;
  exception when lock_not_available or undefined_table or dependent_objects_still_exist
    or object_in_use or insufficient_privilege then
    v_dropped := 0;
  end;
  perform set_config('lock_timeout', v_before, true);
  if v_dropped = 1 and starts_with(v_name, 'job_events') then
    update runledger.prune_passes as p
       set history_begins_at = greatest(p.history_begins_at,
             (to_date(right(v_name, 8), 'YYYYMMDD') + 1)::timestamp at time zone 'UTC')
     where p.caller = _drop_partition.caller;
  end if;
  return v_dropped;
end
$$;

comment on function runledger._drop_partition(text, timestamptz) is
  'Drop the oldest partition of events or log lines that is past the horizon of the pass, unless '
  'somebody is in the way; returns 1 if it did.';
