-- Only days that are over for that long; a name with a date is given by _ensure_partitions alone.
create or replace function runledger._oldest_partition(age interval, now timestamptz)
returns text
language plpgsql stable
as $$
begin
  return (
    select c.relname::text
      from pg_inherits as i
      join pg_class as c on c.oid = i.inhrelid
     cross join lateral (select to_date(right(c.relname, 8), 'YYYYMMDD') + 1 as ends_on) as d
     where i.inhparent in ('runledger.job_events'::regclass, 'runledger.job_logs'::regclass)
       and c.relname ~ '_[0-9]{8}$'
       and d.ends_on::timestamp at time zone 'UTC'
         <= runledger._prune_horizon(_oldest_partition.age, _oldest_partition.now)
     order by d.ends_on, c.relname limit 1);
end
$$;

comment on function runledger._oldest_partition(interval, timestamptz) is
  'The oldest partition of job_events and job_logs whose day ended so long ago, or NULL.';
