create or replace function runledger._health_partitions(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
declare
  v_missing text[];
  v_rows bigint := 0;
  v_some bigint;
begin
  select array_agg(p.name order by p.name) into v_missing
    from (select t.parent || to_char(date_trunc('day', _health_partitions.now at time zone 'UTC')
                   + make_interval(days => d.ahead), '"_"YYYYMMDD') as name
            from unnest(array['job_events', 'job_logs']) as t(parent)
           cross join generate_series(1, 3) as d(ahead)) as p
   where to_regclass('runledger.' || p.name) is null;
  return next runledger._health_check('upkeep.partitions', coalesce(cardinality(v_missing), 0),
    format('Of the partitions of the coming three days %s are missing; rows of those days will go '
      'to the default partition. Maintenance makes them when it has nothing else to do and nobody '
      'is in the way.', cardinality(v_missing)),
    'select * from runledger.run_maintenance()',
    jsonb_build_object('missing', to_jsonb(coalesce(v_missing, '{}'))));
  -- A default partition is read as far as one can see at once; a large one is not empty.
  select count(*) into v_some from (select from runledger.job_events_default limit 1000) as r;
  v_rows := v_rows + v_some;
  select count(*) into v_some from (select from runledger.job_logs_default limit 1000) as r;
  v_rows := v_rows + v_some;
  return next runledger._health_check('upkeep.default_rows', v_rows, format(
    'The default partitions hold %s%s rows of days that had no partition. Maintenance deletes '
    'them row by row once they are old enough; until then there is nothing to do.',
    case when v_rows >= 1000 then 'at least ' end, v_rows),
    'select * from runledger.run_maintenance()', jsonb_build_object('rows', v_rows));
end
$$;

comment on function runledger._health_partitions(timestamptz) is
  'Partitions of the coming days, and rows that have none.';
