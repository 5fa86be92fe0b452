-- One entry of a catalog. Its settings are tried as upsert_schedule tries them; what that raises is
-- caught in a block that writes nothing and so costs no transaction id.
create or replace function runledger._decode_schedule(item jsonb, now timestamptz)
returns runledger._catalog_entry
language plpgsql volatile
as $$
declare
  v_given constant jsonb := runledger._without_nulls(_decode_schedule.item - 'payload');
  v_new runledger.job_schedules;
  v_entry runledger._catalog_entry;
  v_fire runledger._fire;
  v_detail text;
begin
  v_entry.kind := 'SCHEDULE';
  v_entry.name := v_given ->> 'name';
  v_entry.changes := '{}';
  v_entry.fires_at := runledger._as_instant(v_given -> 'next_fire_at');
  v_new.id := runledger._uuidv7();
  v_new.name := v_entry.name;
  v_new.job_type := runledger._as_text(v_given -> 'job_type');
  v_new.workflow_type := runledger._as_text(v_given -> 'workflow_type');
  v_new.workflow_steps := v_given -> 'steps';
  v_new.organization_id := runledger._as_uuid(v_given -> 'organization_id');
  v_new.payload_template := coalesce(_decode_schedule.item -> 'payload', '{}');
  v_new.cron_expr := runledger._as_text(v_given -> 'cron');
  v_new.timezone := case when v_given ? 'timezone'
    then runledger._as_text(v_given -> 'timezone') else 'UTC' end;
  v_new.missed := case when v_given ? 'missed'
    then runledger._as_text(v_given -> 'missed') else 'ONCE' end;
  v_new.max_jitter_seconds := runledger._integer_field(v_given, 'max_jitter_seconds', 0);
  v_new.is_active := coalesce(v_given -> 'is_active', 'true') <> 'false';
  v_entry.code := case
    when not runledger._has_only(v_given, '{name,job_type,workflow_type,steps,organization_id,cron,'
      'timezone,missed,max_jitter_seconds,is_active,next_fire_at}') then 'job.unknown_field'
    when v_given ? 'organization_id' and v_new.organization_id is null
      then 'job.invalid_organization_id'
    when v_given ? 'job_type' and v_new.job_type is null
      or v_given ? 'workflow_type' and v_new.workflow_type is null
      then 'job_schedule.invalid_target'
    when jsonb_typeof(v_given -> 'is_active') <> 'boolean' then 'job.invalid_item'
    when v_given ? 'next_fire_at' and v_entry.fires_at is null then 'job_schedule.invalid_instant'
  end;
  if v_entry.code is null then
    begin
      perform runledger._check_schedule(v_new, v_entry.fires_at, _decode_schedule.now);
      v_fire := runledger._first_fire(v_new, v_entry.fires_at, _decode_schedule.now);
      v_new.next_fire_at := v_fire.fire_at;
      v_new.next_base_at := v_fire.base_at;
    exception when others then
      if sqlstate not like 'RL0%' or sqlstate = 'RL090' then
        raise;
      end if;
      get stacked diagnostics v_detail = pg_exception_detail;
      v_entry.code := v_detail::jsonb ->> 'code';
    end;
  end if;
  v_entry.schedule := v_new;
  return v_entry;
end
$$;

comment on function runledger._decode_schedule(jsonb, timestamptz) is
  'A schedule of a catalog, decoded; what is wrong with it stands in code.';
