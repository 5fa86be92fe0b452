-- The first matching day at or after a day. At most 8 years ahead: that late is the next 29
-- February (1896 to 1904, 2096 to 2104), and _parse_cron refuses what never comes.
create or replace function runledger._next_cron_day(cron runledger._cron, at date)
returns date
language plpgsql immutable parallel safe
as $$
declare
  v_at date := _next_cron_day.at;
  v_first date := date_trunc('month', _next_cron_day.at::timestamp)::date;
  v_last date;
  v_weekday integer;
  v_either_is_any constant boolean :=
    (_next_cron_day.cron).any_day or (_next_cron_day.cron).any_weekday;
  v_is_day boolean;
  v_is_weekday boolean;
begin
  for v_month in 0..95 loop
    v_last := (v_first + interval '1 month')::date - 1;
    if ((_next_cron_day.cron).months >> extract(month from v_first)::integer) & 1 = 1 then
      v_weekday := extract(dow from v_at);
      for v_day in extract(day from v_at)::integer..extract(day from v_last)::integer loop
        v_is_day := ((_next_cron_day.cron).days >> v_day) & 1 = 1;
        v_is_weekday := ((_next_cron_day.cron).weekdays >> v_weekday) & 1 = 1;
        -- A star matches always: "and" with one, "or" without.
        if (v_is_day and v_is_weekday)
          or (not v_either_is_any and (v_is_day or v_is_weekday)) then
          return v_first + v_day - 1;
        end if;
        v_weekday := (v_weekday + 1) % 7;
      end loop;
    end if;
    v_first := v_last + 1;
    v_at := v_first;
  end loop;
  return null;
end
$$;

comment on function runledger._next_cron_day(runledger._cron, date) is
  'The first day, at or after one, on which a cron expression fires.';
