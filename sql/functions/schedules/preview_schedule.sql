-- The coming fires of a schedule, as if it were active: first the one that stands in its cursor.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 job_schedule.not_found, RL010 job.invalid_pagination.
create or replace function runledger.preview_schedule(name text, fires integer default 10)
returns setof runledger.schedule_preview
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_schedule runledger.job_schedules;
  v_cron runledger._cron;
  v_fire runledger._fire;
  v_local timestamp;
  v_offset interval;
begin
  perform runledger._check_count(preview_schedule.fires, 'max_rows', 'job.invalid_pagination');
  select s.* into v_schedule from runledger.job_schedules as s
   where s.name = preview_schedule.name;
  if not found then
    perform runledger._raise('job_schedule.not_found',
      jsonb_build_object('name', left(preview_schedule.name, 200)));
  end if;
  v_cron := runledger._parse_cron(v_schedule.cron_expr);
  for v_nth in 1..preview_schedule.fires loop
    v_local := v_schedule.next_fire_at at time zone v_schedule.timezone;
    v_offset := v_local - v_schedule.next_fire_at at time zone 'UTC';
    return next row(v_schedule.next_fire_at, to_char(v_local, 'Dy YYYY-MM-DD HH24:MI:SS'),
      case when v_offset < '0' then '-' else '+' end
        || to_char(greatest(v_offset, -v_offset), 'HH24:MI'),
      runledger._clock_note(v_schedule.next_fire_at, v_schedule.timezone)
    )::runledger.schedule_preview;
    v_fire := runledger._fire_after(v_schedule, v_cron,
      case when v_schedule.missed = 'ALL' then '-infinity' else v_now end);
    v_schedule.next_fire_at := v_fire.fire_at;
    v_schedule.next_base_at := v_fire.base_at;
  end loop;
end
$$;

comment on function runledger.preview_schedule(text, integer) is
  'The next fires of a schedule: instant, local time, offset from UTC, and a note where the '
  'clocks change.';
