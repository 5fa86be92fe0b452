-- Only days that are over for that long; a name with a date is given by _ensure_partitions alone.
-- Materialized, or the planner may read dates from the names of all tables of the database, once
-- there are thousands of partitions: not all that ends in eight digits is a date.
create or replace function runledger._oldest_partition(age interval, now timestamptz)
returns text
language plpgsql stable
as $$
begin
  return (
    with days as materialized (
      select c.relname::text as name, right(c.relname, 8) as day
        from pg_inherits as i
        join pg_class as c on c.oid = i.inhrelid
       where i.inhparent in ('runledger.job_events'::regclass, 'runledger.job_logs'::regclass)
         and c.relnamespace = 'runledger'::regnamespace
         and c.relname ~ '^job_(events|logs)_[0-9]{8}$'
    )
    select d.name
      from days as d
     cross join lateral (select to_date(d.day, 'YYYYMMDD') + 1 as ends_on) as e
     where e.ends_on::timestamp at time zone 'UTC'
         <= runledger._prune_horizon(_oldest_partition.age, _oldest_partition.now)
     order by e.ends_on, d.name limit 1);
end
$$;

comment on function runledger._oldest_partition(interval, timestamptz) is
  'The oldest partition of job_events and job_logs whose day ended so long ago, or NULL.';
