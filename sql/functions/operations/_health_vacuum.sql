create or replace function runledger._health_vacuum(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
begin
  return query
  select c.*
    from (select r.relname, pg_stat_get_dead_tuples(r.oid) as dead,
                 pg_stat_get_live_tuples(r.oid) as live, _health_vacuum.now - greatest(
                   pg_stat_get_last_vacuum_time(r.oid),
                   pg_stat_get_last_autovacuum_time(r.oid)) as ago
            from pg_class as r
           where r.relnamespace = 'runledger'::regnamespace and r.relkind = 'r'
           order by 2 desc, 1 limit 1) as t
   cross join lateral runledger._health_check('server.dead_rows', t.dead, format(
     'Table %s has %s dead rows beside %s live ones and was %s: see server.autovacuum, and '
     'server.snapshot and server.horizon for who may keep vacuum from removing them.', t.relname,
     t.dead, t.live, coalesce('vacuumed ' || runledger._age(t.ago) || ' ago', 'never vacuumed')),
     format('vacuum (analyze) runledger.%I', t.relname),
     jsonb_build_object('table', t.relname, 'live_rows', t.live,
       'vacuumed_seconds_ago', trunc(extract(epoch from t.ago)))) as c;
  return query
  with switched_off as (
    select format('%s is off for the whole server, until pg_reload_conf() is called after the '
             'statement', s.name) as what,
           format('alter system set %s = on', s.name) as fix, true as is_alone
      from (values ('autovacuum'), ('track_counts')) as s(name)
     where not current_setting(s.name)::boolean
    union all
    select format('autovacuum is off for table %s', r.relname),
           format('alter table runledger.%I reset (autovacuum_enabled)', r.relname), false
      from pg_class as r
     cross join lateral pg_options_to_table(r.reloptions) as o
     where r.relnamespace = 'runledger'::regnamespace and r.relkind = 'r'
       and o.option_name = 'autovacuum_enabled' and not o.option_value::boolean
  )
  select c.*
    from (select count(*) as settings, string_agg(s.what, ', ' order by s.what) as what,
                 -- ALTER SYSTEM is refused if anything else is sent with it.
                 coalesce(min(s.fix) filter (where s.is_alone),
                   string_agg(s.fix, '; ' order by s.what)) as fix
            from switched_off as s) as f
   cross join lateral runledger._health_check('server.autovacuum', f.settings, format(
     'Dead rows stay, and claims get slower and slower: %s.', f.what), f.fix) as c;
end
$$;

comment on function runledger._health_vacuum(timestamptz) is
  'Dead rows, and who should remove them.';
