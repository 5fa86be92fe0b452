-- An open transaction that has locked a row (it stands in the xmax of the row) or holds an advisory
-- lock of two keys. Only one that is a second old: shorter ones are claims and completions at work.
-- What pg_stat_activity hides from this role is left out.
create or replace function runledger._lock_holders(
  locker xid, key_class integer, key integer, now timestamptz)
returns setof runledger._lock_holder
language plpgsql stable
as $$
begin
  return query
  select case when l.pid is null then format('The prepared transaction %s', coalesce(
             quote_literal(runledger._one_line(p.gid)), 'of a name that cannot be told'))
           else concat('The open transaction of session ', l.pid,
             ' (' || concat_ws(', ', a.usename, nullif(runledger._one_line(a.application_name), ''),
               a.state, 'since ' || runledger._when(a.xact_start, _lock_holders.now)) || ')') end,
         case when l.pid is not null then format('select pg_terminate_backend(%s, 5000);', l.pid)
           when p.gid is not null then format('rollback prepared %L;', p.gid)
           else 'select * from pg_prepared_xacts;' end
    from pg_locks as l
    left join pg_stat_activity as a on a.pid = l.pid
    left join pg_prepared_xacts as p on l.pid is null and p.transaction = l.transactionid
   where l.granted and l.mode = 'ExclusiveLock' and l.pid is distinct from pg_backend_pid()
     and (l.locktype = 'transactionid' and l.transactionid = _lock_holders.locker
          or l.locktype = 'advisory' and l.objsubid = 2
             and l.classid = _lock_holders.key_class::oid and l.objid = _lock_holders.key::oid
             and l.database = (select d.oid from pg_database as d
                                where d.datname = current_database()))
     and coalesce(a.xact_start < _lock_holders.now - interval '1 second', true)
   limit 1;
end
$$;

comment on function runledger._lock_holders(xid, integer, integer, timestamptz) is
  'The open transaction of another session that keeps this row or this advisory lock, if any.';
