-- Fire the schedules that are due: start what they start and move their cursors, in one piece. Any
-- number of callers may do this at once; none of them fires twice.
--
-- Locks:  job_schedules rows, most overdue first, skipping locked ones; a workflow waits for a
--         rival with its key.
-- Writes: job_schedules, job_queue, job_events; what enqueue_workflow writes. Notifies idle
--         workers.
-- Raises: RL010 job.invalid_limit, RL013 operations.unsupported_isolation.
create or replace function runledger.fire_due_schedules(max_schedules integer default 100)
returns setof runledger.fired_schedule
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = auto
set enable_nestloop = on
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_due runledger.job_schedules[];
  v_fired runledger.fired_schedule[];
begin
  perform runledger._check_count(
    fire_due_schedules.max_schedules, 'max_schedules', 'job.invalid_limit');
  perform runledger._require_read_committed('operations.unsupported_isolation');
  v_due := array(
    select s from runledger.job_schedules as s
     where s.is_active and s.due_at <= v_now
     order by s.due_at, s.id limit fire_due_schedules.max_schedules
       for no key update skip locked);
  if cardinality(v_due) = 0 then
    return;
  end if;
  begin
    v_fired := array(select f from runledger._fire_schedules(v_due, v_now) as f);
  exception when others then
    if left(sqlstate, 2) in ('53', '57', 'XX') then
      raise;
    end if;
    v_fired := array(select f from runledger._fire_apart(v_due, v_now) as f);
  end;
  perform runledger._wake(array(
    select distinct s.job_type from unnest(v_due) as s
      join unnest(v_fired) as f on f.name = s.name
     where f.disposition = 'FIRED' and f.job_id is not null), v_now);
  return query select f.* from unnest(v_fired) as f;
end
$$;

comment on function runledger.fire_due_schedules(integer) is
  'Fire up to max_schedules schedules that are due, most overdue first. One row per fire: FIRED, '
  'SKIPPED (MISSED: over a minute late and missed is SKIP; ALREADY_FIRED: that instant was fired '
  'before), or DEFERRED (it cannot fire, code says why; tried again half a minute later). At most '
  '1000 jobs or steps a call; call again while a next_fire_at is in the past.';
