-- Who keeps vacuum from removing dead rows of this database. Everybody may see the ids of a
-- transaction; since when it is open is hidden of other roles' sessions from an owner who is not a
-- member of pg_read_all_stats. Vacuum itself holds nothing back.
create or replace function runledger._snapshot_holders()
returns table (kind text, who text, since timestamptz, age integer, release text)
language sql stable
as $$
  select case when a.backend_type = 'walsender' then 'standby' else 'session' end,
         format('%s of role %s%s, %s', case when a.backend_type = 'walsender'
             then 'The standby fed by process ' || a.pid else 'Session ' || a.pid end, a.usename,
           case when a.application_name <> '' then format(' (%s)', left(translate(
             a.application_name, E'\r\n\t', '   '), 40)) end,
           coalesce(a.state, 'state hidden')),
         a.xact_start, greatest(age(a.backend_xmin), age(a.backend_xid)),
         case when a.backend_type = 'walsender' then 'select * from pg_stat_replication'
              else format('select pg_terminate_backend(%s)', a.pid) end
    from pg_stat_activity as a
   where (a.backend_xmin is not null or a.backend_xid is not null)
     and (a.datname = current_database() or a.backend_type = 'walsender')
     and a.pid <> pg_backend_pid()
     and a.backend_type is distinct from 'autovacuum worker'
     and not exists (select from pg_stat_progress_vacuum as v where v.pid = a.pid)
  union all
  select 'prepared', format('Prepared transaction %L of role %s', p.gid, p.owner), p.prepared,
         age(p.transaction), format('rollback prepared %L', p.gid)
    from pg_prepared_xacts as p
   where p.database = current_database()
  union all
  select 'slot', format('Replication slot %L, %s', s.slot_name,
           case when s.active then 'in use by process ' || s.active_pid else 'not in use' end),
         null, age(s.xmin), format('select pg_drop_replication_slot(%L)', s.slot_name)
    from pg_replication_slots as s
   where s.xmin is not null
$$;

comment on function runledger._snapshot_holders() is
  'Sessions, prepared transactions, replication slots and standbys that hold an old snapshot.';
