-- How far the deletion of what is old lags behind: days of history that should have been dropped,
-- and a pass over the jobs that does not come to its end. Retention for ever has no lag.
create or replace function runledger._health_retention(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
declare
  v_kept constant interval := (runledger.retention()).history;
begin
  return query
  with late as (
    select format('Partition %s is past its time by', p.relname) as what,
           _health_retention.now - v_kept - p.ends_at as lag
      from (select r.relname, (to_date(right(r.relname, 8), 'YYYYMMDD') + 1)::timestamp
                     at time zone 'UTC' as ends_at
              from pg_class as r
             where r.relnamespace = 'runledger'::regnamespace and r.relispartition
               and r.relname ~ '^job_(events|logs)_[0-9]{8}$') as p
     where v_kept > '0' and p.ends_at < _health_retention.now - v_kept
    union all
    select 'The present look for old jobs and runs has been going on for',
           _health_retention.now - p.started_at
      from runledger.prune_passes as p
     where p.caller = 'MAINTENANCE' and p.ended_at is null
  )
  select c.*
    from (select) as one
    left join (select l.what, l.lag from late as l order by l.lag desc limit 1) as w on true
   cross join lateral runledger._health_check('upkeep.retention', extract(epoch from w.lag), format(
     '%s %s: maintenance is not called often enough, or never finds the tables free, or an object '
     'of yours depends on the partition. It goes with a call that had nothing else to do.', w.what,
     runledger._age(w.lag)),
     'select * from runledger.run_maintenance()',
     jsonb_build_object('history_is_kept', v_kept)) as c;
end
$$;

comment on function runledger._health_retention(timestamptz) is
  'How far the deletion of what is old lags behind.';
