-- PostgreSQL 15 cannot ask whether a text is a timestamp: try it.
create or replace function runledger._as_instant(value jsonb)
returns timestamptz
language plpgsql stable
as $$
declare
  v_text text := runledger._as_text(_as_instant.value);
begin
  if runledger._is_instant(v_text) then
    return v_text::timestamptz;
  end if;
  return null;
exception
  when datetime_field_overflow or invalid_datetime_format or invalid_time_zone_displacement_value
  then
    return null;
end
$$;

comment on function runledger._as_instant(jsonb) is
  'An instant with an offset out of a batch item (ISO 8601), NULL if it is none.';
