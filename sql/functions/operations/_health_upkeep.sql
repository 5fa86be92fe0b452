-- upkeep.*: what run_maintenance() sees to. A standby cannot tell a new timeline: there it is not
-- asked.
create or replace function runledger._health_upkeep(now timestamptz)
returns setof runledger.health_check
language plpgsql stable
as $$
declare
  v_idle interval;
  v_timeline text;
  v_known text;
  v_behind bigint;
begin
  select _health_upkeep.now - coalesce(max(u.last_pass_at), (select max(m.applied_at)
           from runledger._migrations as m)), max(u.timeline)
    into v_idle, v_known
    from runledger.upkeep_state as u;
  return next runledger._health_check('upkeep.maintenance', extract(epoch from v_idle), format(
    'run_maintenance() has not worked for %s: nobody notices a fail-over, times out gates, makes '
    'partitions or deletes what is old. Workers call it; so may pg_cron.', runledger._age(v_idle)),
    'select * from runledger.run_maintenance()');
  if not pg_is_in_recovery() then
    v_timeline := left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
  end if;
  return next runledger._health_check('upkeep.timeline', case when v_timeline <> v_known then 1 end,
    format('The WAL timeline changed from %s to %s, a fail-over: lease tokens may be issued twice '
      'until run_maintenance() lifts their sequence.', v_known, v_timeline),
    'select * from runledger.run_maintenance()',
    jsonb_build_object('timeline', v_timeline, 'known', v_known));
  -- The tokens that fence something now; fsck() compares all of them.
  select max(q.lease_token) - max(s.last_value) + max((not s.is_called)::integer) into v_behind
    from runledger.lease_token_seq as s
    left join runledger.job_queue as q on q.lease_token is not null;
  return next runledger._health_check('upkeep.tokens', greatest(v_behind, 0), format(
    'The sequence of lease tokens is %s behind the tokens in use, after a restore or a fail-over: '
    'it will issue some of them again.', v_behind),
    format('select setval(''runledger.lease_token_seq'', (select s.last_value + %s'
      ' from runledger.lease_token_seq as s))', v_behind + 4294967296));
  return query select h.* from runledger._health_partitions(_health_upkeep.now) as h;
  return query select h.* from runledger._health_retention(_health_upkeep.now) as h;
end
$$;

comment on function runledger._health_upkeep(timestamptz) is
  'Maintenance, fail-over, tokens and partitions.';
