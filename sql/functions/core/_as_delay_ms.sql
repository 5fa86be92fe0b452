create or replace function runledger._as_delay_ms(value jsonb)
returns bigint
language plpgsql stable parallel safe
as $$
declare
  v_delay interval := coalesce(runledger._as_interval(_as_delay_ms.value),
                               case when _as_delay_ms.value is null then '0'::interval end);
begin
  if v_delay between '0' and make_interval(days => runledger._limit('horizon_days')::integer) then
    return ceil(extract(epoch from v_delay) * 1000);
  end if;
  return null;
end
$$;

comment on function runledger._as_delay_ms(jsonb) is
  'A delay in milliseconds out of a batch item (none: 0), NULL if it is negative, too long or no '
  'delay.';
