-- The upkeep that needs no worker: any caller (runner, pg_cron, psql) as often as it likes. Every
-- task is bounded; more says that another call at once would find more to do. One call at a time
-- works; a second one returns no rows.
--
-- Locks:  the row of upkeep_state, only tried; then what its tasks lock, skipping locked rows.
--         Partitions are created or dropped only by a call that had nothing else to do, waiting
--         for locks at most 200 ms.
-- Writes: see reap_expired_leases, fire_due_schedules and prune; workers, upkeep_state,
--         job_metrics_slots, job_metrics_totals; partitions.
-- Raises: RL013 operations.unsupported_isolation.
create or replace function runledger.run_maintenance()
returns setof runledger.upkeep_report
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := runledger._now();
  v_affected bigint;
  v_total bigint := 0;
  v_more boolean;
  v_mark bigint;
begin
  perform runledger._require_read_committed('operations.unsupported_isolation');
  -- First of all, before this transaction gets an id: see _event_mark.
  v_mark := runledger._event_mark();
  -- A row and no advisory lock: anybody who can connect may take one of those and keep it.
  perform from runledger.upkeep_state as u for no key update skip locked;
  if not found and exists (select from runledger.upkeep_state) then
    return;
  end if;
  -- A full notification queue moves on only when somebody asks for its usage.
  perform pg_notification_queue_usage();
  v_affected := runledger._notice_timeline(v_now);
  v_total := v_total + v_affected;
  return next row('timeline', v_affected, false)::runledger.upkeep_report;
  update runledger.upkeep_state as u set last_pass_at = v_now
   where (u.last_pass_at between v_now - interval '30 seconds' and v_now) is not true;
  select count(*) into v_affected from runledger.reap_expired_leases(1000);
  v_total := v_total + v_affected;
  return next row('reap', v_affected, v_affected >= 1000)::runledger.upkeep_report;
  select count(*) into v_affected from runledger.fire_due_schedules(1000);
  v_total := v_total + v_affected;
  return next row('fire', v_affected, v_affected > 0 and coalesce(
    runledger.next_schedule_at() <= v_now, false))::runledger.upkeep_report;
  v_affected := runledger._time_out_gates(1000, v_now);
  v_total := v_total + v_affected;
  return next row('gate_timeouts', v_affected, v_affected >= 1000)::runledger.upkeep_report;
  with gone as materialized (
    select w.worker_id from runledger.workers as w
     where w.last_seen_at < v_now - interval '1 day'
     order by w.worker_id for update skip locked
  )
  delete from runledger.workers as w using gone as g where w.worker_id = g.worker_id;
  get diagnostics v_affected = row_count;
  v_total := v_total + v_affected;
  return next row('forget_workers', v_affected, false)::runledger.upkeep_report;
  -- Before prune, which drops only what is counted. It adds nothing to the sum: on a busy ledger
  -- there is always something to roll up, and partitions must be prepared all the same.
  select r.affected, r.more into v_affected, v_more
    from runledger._roll_up(v_mark, 20000, v_now) as r;
  return next row('rollup', v_affected, v_more)::runledger.upkeep_report;
  select coalesce(sum(p.affected), 0), coalesce(bool_or(p.more), false) into v_affected, v_more
    from runledger.retention() as r
   cross join lateral runledger._prune('MAINTENANCE', r.finished, r.dead_letters, r.history, null,
     5000, v_total = 0, null, v_now) as p;
  v_total := v_total + v_affected;
  return next row('prune', v_affected, v_more or v_affected > 0)::runledger.upkeep_report;
  if v_total = 0 then
    return next row('partitions', runledger._try_partitions(), false)::runledger.upkeep_report;
  end if;
end
$$;

comment on function runledger.run_maintenance() is
  'Upkeep, bounded and safe to call at any time by anybody: notices a fail-over, reaps expired '
  'leases, fires schedules, times out gates, forgets workers that were silent for a day, rolls '
  'up events into metrics, prunes by retention(), prepares partitions. One row per task: affected, '
  'and more = call again. No rows: another session is at it.';
