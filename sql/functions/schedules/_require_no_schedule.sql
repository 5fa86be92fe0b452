-- Under the lock of the definition, which whoever activates a schedule shares: so either sees the
-- other.
create or replace function runledger._require_no_schedule(job_type text)
returns void
language plpgsql volatile
as $$
declare
  v_names text[];
begin
  select array_agg(s.name order by s.name) into v_names
    from runledger.job_schedules as s
   where s.is_active
     and (s.job_type = _require_no_schedule.job_type
          or s.workflow_steps @> jsonb_build_array(
               jsonb_build_object('job_type', _require_no_schedule.job_type)));
  if v_names is not null then
    perform runledger._raise('job_definition.active_schedule_exists',
      jsonb_build_object('schedules', to_jsonb(v_names[:100])));
  end if;
end
$$;

comment on function runledger._require_no_schedule(text) is
  'Raise job_definition.active_schedule_exists if an active schedule starts jobs of this type.';
