create or replace function runledger._next_cron_local(cron runledger._cron, at timestamp)
returns timestamp
language plpgsql immutable parallel safe
as $$
declare
  v_cron constant runledger._cron := _next_cron_local.cron;
  v_hour integer := extract(hour from _next_cron_local.at);
  v_minute integer := extract(minute from _next_cron_local.at);
  v_second integer := extract(second from _next_cron_local.at);
  v_day date;
  v_found integer;
begin
  v_second := runledger._next_bit(v_cron.seconds, v_second);
  if v_second is null then
    v_minute := v_minute + 1;
  end if;
  v_found := runledger._next_bit(v_cron.minutes, v_minute);
  if v_found is distinct from v_minute then
    v_second := null;
  end if;
  v_hour := v_hour + case when v_found is null then 1 else 0 end;
  v_minute := v_found;
  v_found := runledger._next_bit(v_cron.hours, v_hour);
  if v_found is distinct from v_hour then
    v_minute := null;
    v_second := null;
  end if;
  v_hour := v_found;
  v_day := runledger._next_cron_day(v_cron,
    _next_cron_local.at::date + case when v_hour is null then 1 else 0 end);
  if v_day <> _next_cron_local.at::date then
    v_hour := null;
    v_minute := null;
    v_second := null;
  end if;
  return v_day + make_time(
    coalesce(v_hour, runledger._next_bit(v_cron.hours, 0)),
    coalesce(v_minute, runledger._next_bit(v_cron.minutes, 0)),
    coalesce(v_second, runledger._next_bit(v_cron.seconds, 0)));
end
$$;

comment on function runledger._next_cron_local(runledger._cron, timestamp) is
  'The first time of a wall clock, at or after one, that matches; NULL if none does in 8 years.';
