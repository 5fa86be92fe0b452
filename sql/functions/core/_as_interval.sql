create or replace function runledger._as_interval(value jsonb)
returns interval
language plpgsql stable
as $$
declare
  v_seconds numeric;
begin
  if jsonb_typeof(_as_interval.value) = 'number' then
    v_seconds := (_as_interval.value)::numeric;
    if v_seconds between -1e9 and 1e9 then
      return make_interval(secs => v_seconds::double precision);
    end if;
    return null;
  end if;
  if octet_length(runledger._as_text(_as_interval.value)) <= 64 then
    return runledger._as_text(_as_interval.value)::interval;
  end if;
  return null;
exception
  when datetime_field_overflow or invalid_datetime_format or interval_field_overflow then
    return null;
end
$$;

comment on function runledger._as_interval(jsonb) is
  'A length of time out of a batch item: a number of seconds or an interval; NULL if it is none.';
