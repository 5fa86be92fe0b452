-- server.*: what the server does to us, and others on it.
create or replace function runledger._health_server(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
declare
  v_usage numeric := 0;
begin
  return query
  with holder as materialized (
    select h.kind, h.who, _health_server.now - h.since as open_for, h.age, h.release
      from runledger._snapshot_holders() as h
  ), longest as materialized (
    select h.* from holder as h where h.open_for is not null order by h.open_for desc limit 1
  ), oldest as materialized (
    select h.* from holder as h order by h.age desc limit 1
  )
  select c.*
    from (select count(*) filter (where h.kind = 'session' and h.open_for is null) as hidden
            from holder as h) as n
    left join longest as l on true
   cross join lateral runledger._health_check('server.snapshot', extract(epoch from l.open_for),
     format('%s, has been in one transaction for %s: vacuum removes nothing that died since, and '
       'everything gets slower.', l.who, runledger._age(l.open_for)), l.release,
     jsonb_build_object('who', l.who, 'kind', l.kind, 'hidden_sessions', n.hidden)) as c
  union all
  select c.*
    from (select) as one
    left join oldest as o on true
   cross join lateral runledger._health_check('server.horizon', o.age, format(
     '%s, holds a snapshot that %s transactions have followed: vacuum removes nothing that died '
     'since. Ending it this way is for those who know what it is.', o.who, o.age), o.release,
     jsonb_build_object('who', o.who, 'kind', o.kind)) as c;
  return query select h.* from runledger._health_vacuum(_health_server.now) as h;
  -- A standby has no queue.
  if not pg_is_in_recovery() then
    v_usage := pg_notification_queue_usage() * 100;
  end if;
  return next runledger._health_check('server.notify', v_usage, format(
    'The notification queue of the server is %s %% full: a session that listens sits in a '
    'transaction and does not read. From 50 %% on Runledger sends no wake-ups and workers only '
    'poll; a full one fails whoever notifies.', round(v_usage)),
    'select pid, usename, state, xact_start from pg_stat_activity'
    ' where state like ''idle in transaction%'' order by xact_start');
end
$$;

comment on function runledger._health_server(timestamptz) is
  'Old snapshots, vacuum, the notification queue.';
