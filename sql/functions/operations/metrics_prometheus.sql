-- Everything to watch, in the text format 0.0.4 of Prometheus. Labels are job types and outcomes,
-- never tenants, keys or ids: the number of series is that of the job types. The cost does not grow
-- with finished history. Meant to be asked every few seconds.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.metrics_prometheus()
returns text
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := runledger._now();
begin
  return (
    with sample as materialized (
      select s.* from runledger._fleet_samples(v_now) as s
      union all
      select s.* from runledger._queue_samples(v_now) as s
      union all
      select s.* from runledger._outcome_samples() as s
    ), block as (
      select f.place, format(E'# HELP %s %s\n# TYPE %s %s\n', f.family, f.help, f.family, f.kind)
               || coalesce(string_agg(s.family || s.suffix || case when s.labels <> ''
                  then '{' || s.labels || '}' else '' end || ' ' || s.value || E'\n', ''
                  order by s.nth), '') as lines
        from runledger._metric_families() as f
        left join sample as s on s.family = f.family
       group by f.place, f.family, f.kind, f.help
    )
    select string_agg(b.lines, '' order by b.place) from block as b);
end
$$;

comment on function runledger.metrics_prometheus() is
  'What there is to watch, as text for Prometheus: queue depth, readiness, leases and switches per '
  'job type; counters of what happened, over all tenants; workers, schedules, runs, dead letters. '
  'Over HTTP: runledger metrics --listen.';
