-- Bounded by its length and not as an interval: those are compared with years of 360 days, but a
-- year is 365.25 of them, and '-1 year 360 days' is no less than nothing.
create or replace function runledger._as_delay_ms(value jsonb)
returns bigint
language plpgsql stable
as $$
declare
  v_seconds constant numeric := case when _as_delay_ms.value is null then 0 else
    extract(epoch from runledger._as_interval(_as_delay_ms.value)) end;
begin
  if v_seconds between 0 and runledger._limit('horizon_days') * 86400 then
    return ceil(v_seconds * 1000);
  end if;
  return null;
end
$$;

comment on function runledger._as_delay_ms(jsonb) is
  'A delay in milliseconds out of a batch item (none: 0), NULL if it is negative, too long or no '
  'delay.';
