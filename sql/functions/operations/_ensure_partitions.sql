-- One partition a day for events and logs, today and the next three days; days are those of UTC. A
-- day that already has rows in the default partition stays there: attaching would fail on them. A
-- large default partition is not scanned under a lock: it is left for prune to empty.
create or replace function runledger._ensure_partitions()
returns table (partition_name text)
language plpgsql volatile
as $$
declare
  v_parent text;
  v_day timestamp;
  v_has_rows boolean;
  -- In full: an instant that is written as the session likes it may have a zone by a name that is
  -- read as another one.
  v_bound constant text := 'YYYY-MM-DD "00:00:00+00"';
begin
  foreach v_parent in array array['job_events', 'job_logs'] loop
    for v_ahead in 0..3 loop
      v_day := date_trunc('day', runledger._now() at time zone 'UTC')
        + make_interval(days => v_ahead);
      partition_name := v_parent || to_char(v_day, '"_"YYYYMMDD');
      continue when to_regclass(format('runledger.%I', partition_name)) is not null;
      execute format(
        'select exists (select from runledger.%I as p'
        ' where p.occurred_at >= $1 and p.occurred_at < $2)',
                     v_parent || '_default')
         into v_has_rows
        using v_day at time zone 'UTC', (v_day + interval '1 day') at time zone 'UTC';
      continue when v_has_rows
        or pg_table_size(format('runledger.%I', v_parent || '_default')) > 64 * 1024 * 1024;
      execute format(
        'create table runledger.%I partition of runledger.%I for values from (%L) to (%L)'
        ' with (autovacuum_vacuum_insert_scale_factor = 0.05)',
        partition_name, v_parent, to_char(v_day, v_bound),
        to_char(v_day + interval '1 day', v_bound));
      execute format('comment on table runledger.%I is %L', partition_name,
        format('%s of %s (UTC).', v_parent, to_char(v_day, 'YYYY-MM-DD')));
      return next;
    end loop;
  end loop;
end
$$;

comment on function runledger._ensure_partitions() is
  'Create the partitions of job_events and job_logs for today and the next days; returns their '
  'names.';
