-- AT TIME ZONE also takes abbreviations (without daylight saving) and POSIX rules, and reads a
-- misspelt name with a digit in it as such a rule. A name with a slash and without a digit can be
-- neither, so asking for it is enough; anything else is looked up, which reads every zone there is.
-- IANA names begin with a capital; localtime and posix/... are what a machine has besides.
create or replace function runledger._check_timezone(timezone text)
returns void
language plpgsql stable
as $$
declare
  v_zone constant text := _check_timezone.timezone;
begin
  if v_zone in ('UTC', 'Etc/UTC', 'GMT') then
    return;
  elsif octet_length(v_zone) <= 100 and v_zone ~ '^[A-Z][A-Za-z_]*(/[A-Za-z_-]+)+$' then
    perform timestamp '2000-01-01' at time zone v_zone;
    return;
  elsif octet_length(v_zone) <= 100 and v_zone ~ '^[A-Z][A-Za-z0-9_+/-]*$'
    and not exists (select from pg_timezone_abbrevs as a where a.abbrev = upper(v_zone))
    and exists (select from pg_timezone_names as n where n.name = v_zone) then
    return;
  end if;
  perform runledger._raise('job_schedule.invalid_timezone');
exception when invalid_parameter_value then
  perform runledger._raise('job_schedule.invalid_timezone');
end
$$;

comment on function runledger._check_timezone(text) is
  'Raise job_schedule.invalid_timezone unless it is UTC or the name of an IANA zone.';
