-- One field of a cron expression as a bit mask, NULL if it cannot be read: a list of numbers,
-- names, ranges and steps; a/n is every n-th from a on. Ranges of names or numbers wrap around in
-- months and weekdays (fri-mon, nov-feb), where 7 is Sunday like 0. Every pattern here is linear
-- in the length of the field, and the caller bounds that.
create or replace function runledger._cron_field(
  field text, lowest integer, highest integer, names text[])
returns bigint
language plpgsql immutable parallel safe
as $$
declare
  v_weekday constant boolean := _cron_field.highest = 7;
  v_cycle constant integer := case when v_weekday then 7 else 12 end;
  v_part text;
  v_match text[];
  v_from integer;
  v_to integer;
  v_step integer;
  v_mask bigint := 0;
begin
  for v_part in select p.part from unnest(string_to_array(_cron_field.field, ',')) as p(part) loop
    v_match := regexp_match(v_part,
      '^(?:([*])|([0-9]{1,2}|[a-z]{3})(?:-([0-9]{1,2}|[a-z]{3}))?)(?:/([0-9]{1,3}))?$');
    if v_match is null then
      return null;
    end if;
    v_step := coalesce(v_match[4]::integer, 1);
    if v_match[1] is not null then
      v_from := _cron_field.lowest;
      v_to := case when v_weekday then 6 else _cron_field.highest end;
    else
      v_from := runledger._cron_number(v_match[2], _cron_field.lowest, _cron_field.names);
      v_to := case
        when v_match[3] is not null
          then runledger._cron_number(v_match[3], _cron_field.lowest, _cron_field.names)
        when v_match[4] is null then v_from
        when v_weekday then 6
        else _cron_field.highest end;
    end if;
    if v_from is null or v_to is null or least(v_from, v_to) < _cron_field.lowest
      or greatest(v_from, v_to) > _cron_field.highest
      or v_step not between 1 and _cron_field.highest then
      return null;
    elsif v_from > v_to then
      if _cron_field.names is null or v_match[3] is null then
        return null;
      end if;
      v_to := v_to + v_cycle;
    end if;
    for v_at in v_from..v_to by v_step loop
      v_mask := v_mask | (1::bigint << case
        when _cron_field.names is null then v_at
        else _cron_field.lowest + (v_at - _cron_field.lowest) % v_cycle end);
    end loop;
  end loop;
  return nullif(v_mask, 0);
end
$$;

comment on function runledger._cron_field(text, integer, integer, text[]) is
  'One field of a cron expression as a bit mask, or NULL.';
