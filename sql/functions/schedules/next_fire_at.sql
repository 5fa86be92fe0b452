-- When a cron expression fires next.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job_schedule.invalid_cron, job_schedule.cron_never_fires,
--         job_schedule.invalid_timezone, job_schedule.invalid_instant.
create or replace function runledger.next_fire_at(
  cron text, timezone text default 'UTC', after timestamptz default null)
returns timestamptz
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_after constant timestamptz := coalesce(next_fire_at.after, v_now);
begin
  perform runledger._check_timezone(next_fire_at.timezone);
  if not (v_after >= '1970-01-01 00:00Z' and v_after <= runledger._horizon(v_now)) then
    perform runledger._raise('job_schedule.invalid_instant');
  end if;
  return runledger._next_fire(
    runledger._parse_cron(next_fire_at.cron), next_fire_at.timezone, v_after);
end
$$;

comment on function runledger.next_fire_at(text, text, timestamptz) is
  'The first fire of a cron expression after an instant (NULL: now). Fields: minute hour day '
  'month weekday, or 6 with seconds first; lists, ranges, steps (*/5, 10-40/10, 5/15), names, 7 is '
  'Sunday; @hourly, @daily, @weekly, @monthly, @yearly. Day and weekday: either, when both are '
  'given (*/2 counts as given). When the clocks change: fixed minute and hour fire once per local '
  'time (skipped: at the end of the gap; repeated: first pass); with a star in minute or hour '
  'real time is followed.';
