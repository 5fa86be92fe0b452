-- The types are share-locked, so that none is disabled before the schedule is committed. One that
-- is not active need not be able to fire, but its job type must exist.
create or replace function runledger._require_schedule_types(
  job_type text, steps jsonb, is_active boolean)
returns void
language plpgsql volatile
as $$
declare
  v_types text[] := array[_require_schedule_types.job_type];
  v_missing text[];
begin
  if _require_schedule_types.steps is not null then
    v_types := array(
      select distinct e.step ->> 'job_type'
        from jsonb_array_elements(_require_schedule_types.steps) as e(step)
       where _require_schedule_types.is_active and e.step ? 'job_type');
  end if;
  perform d.job_type from runledger.job_definitions as d
    where d.job_type = any (v_types) order by d.job_type for share;
  select array_agg(left(t.job_type, 200) order by t.job_type) into v_missing
    from unnest(v_types) as t(job_type)
   where not exists (
     select from runledger.job_definitions as d
      where d.job_type = t.job_type
        and (d.is_enabled or not _require_schedule_types.is_active));
  if v_missing is not null then
    perform runledger._raise('job_schedule.definition_not_found_or_disabled',
      jsonb_build_object('job_types', to_jsonb(v_missing[:100])));
  end if;
end
$$;

comment on function runledger._require_schedule_types(text, jsonb, boolean) is
  'Raise job_schedule.definition_not_found_or_disabled unless a schedule may start these types.';
