-- Fire one schedule that is due and move its cursor, in one piece: an error takes back both.
create or replace function runledger._fire_schedule(
  schedule runledger.job_schedules, max_fires bigint, now timestamptz)
returns setof runledger.fired_schedule
language plpgsql volatile
as $$
declare
  v_schedule runledger.job_schedules := _fire_schedule.schedule;
  v_cron constant runledger._cron := runledger._parse_cron(v_schedule.cron_expr);
  v_late constant timestamptz := _fire_schedule.now
    - make_interval(secs => runledger._limit('late_seconds'));
  v_fired runledger.fired_schedule;
  v_next runledger._fire;
begin
  for v_nth in 1.._fire_schedule.max_fires loop
    if v_schedule.missed = 'SKIP' and v_schedule.next_fire_at < v_late then
      v_fired := row(v_schedule.name, null, null, v_schedule.next_fire_at, null, 'SKIPPED',
        'MISSED');
    else
      v_fired := runledger._start_fire(v_schedule, _fire_schedule.now);
    end if;
    v_next := runledger._fire_after(v_schedule, v_cron, case v_schedule.missed
      when 'ONCE' then _fire_schedule.now when 'SKIP' then v_late else '-infinity' end);
    v_fired.next_fire_at := v_next.fire_at;
    return next v_fired;
    v_schedule.next_fire_at := v_next.fire_at;
    v_schedule.next_base_at := v_next.base_at;
    if v_fired.disposition = 'FIRED' then
      v_schedule.last_fired_at := _fire_schedule.now;
    end if;
    exit when v_schedule.missed <> 'ALL' or v_schedule.next_fire_at > _fire_schedule.now;
  end loop;
  update runledger.job_schedules as s
     set next_fire_at = v_schedule.next_fire_at, next_base_at = v_schedule.next_base_at,
         last_fired_at = v_schedule.last_fired_at, updated_at = _fire_schedule.now,
         deferred_at = null, deferred_until = null, deferred_code = null
   where s.id = v_schedule.id;
  if not found then
    perform runledger._raise('job_schedule.not_found');
  end if;
end
$$;

comment on function runledger._fire_schedule(
  runledger.job_schedules, bigint, timestamptz) is
  'Fire a locked schedule that is due, several times if each missed fire counts, and move its '
  'cursor.';
