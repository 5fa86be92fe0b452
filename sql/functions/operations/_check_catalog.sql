-- Names are checked as a whole: with a blank or repeated one it is not known what is listed, hence
-- not what is absent.
create or replace function runledger._check_catalog(
  catalog text, definitions jsonb, schedules jsonb)
returns void
language plpgsql stable
as $$
declare
  v_most constant bigint := runledger._limit('catalog_items');
  v_bytes constant bigint := runledger._limit('name_bytes');
  v_code text;
  v_kind text;
  v_place bigint;
begin
  if not runledger._is_name(_check_catalog.catalog, v_bytes)
    or _check_catalog.catalog ~ '^[[:space:]]|[[:space:]]$' then
    perform runledger._raise('catalog.invalid_name');
  end if;
  perform runledger._check_batch(_check_catalog.definitions);
  perform runledger._check_batch(_check_catalog.schedules);
  if greatest(jsonb_array_length(_check_catalog.definitions),
    jsonb_array_length(_check_catalog.schedules)) > v_most then
    perform runledger._raise('catalog.too_large', jsonb_build_object('max_items', v_most));
  end if;
  with listed as (
    select 'JOB_TYPE' as kind, d.ordinal, d.item, runledger._as_text(d.item -> 'job_type') as name
      from jsonb_array_elements(_check_catalog.definitions) with ordinality as d(item, ordinal)
    union all
    select 'SCHEDULE', s.ordinal, s.item, runledger._as_text(s.item -> 'name')
      from jsonb_array_elements(_check_catalog.schedules) with ordinality as s(item, ordinal)),
  judged as (
    select l.kind, l.ordinal, case
             when jsonb_typeof(l.item) <> 'object' then 'job.invalid_item'
             when l.kind = 'JOB_TYPE' and not runledger._is_name(l.name, v_bytes)
               then 'job.invalid_job_type'
             when l.kind = 'SCHEDULE' and (not runledger._is_name(l.name, v_bytes)
               or l.name ~ '^[[:space:]]|[[:space:]]$') then 'job_schedule.invalid_name'
             when row_number() over (partition by l.kind, l.name order by l.ordinal) > 1
               then 'catalog.duplicate_name' end as code
      from listed as l)
  select j.code, j.kind, j.ordinal into v_code, v_kind, v_place
    from judged as j where j.code is not null order by j.kind, j.ordinal limit 1;
  if found then
    perform runledger._raise(v_code, jsonb_build_object('kind', v_kind, 'ordinal', v_place));
  elsif _check_catalog.definitions = '[]' and _check_catalog.schedules = '[]'
    and not exists (select from runledger.job_definitions as d
                     where d.catalog = _check_catalog.catalog)
    and not exists (select from runledger.job_schedules as s
                     where s.catalog = _check_catalog.catalog) then
    perform runledger._raise('catalog.empty');
  end if;
end
$$;

comment on function runledger._check_catalog(text, jsonb, jsonb) is
  'Raise unless these are two lists of named entries that sync_catalog can work with.';
