-- S2, S3: cursors. A schedule is overdue when nobody fires schedules; one that is put off is not.
create or replace function runledger._fsck_schedules(
  workflow_run_id uuid, max_rows integer, now timestamptz)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  if _fsck_schedules.workflow_run_id is not null then
    return;
  end if;
  return query
  select 'S2', 'ERROR', 'schedule ' || s.id, jsonb_build_object(
           'next_fire_at', s.next_fire_at, 'next_base_at', s.next_base_at,
           'violations', count(*) over ()),
         format('select runledger.resume_schedule(%L, runledger._now())', s.name)
    from runledger.job_schedules as s
   where not isfinite(s.next_fire_at) or not isfinite(s.next_base_at)
   order by s.id limit _fsck_schedules.max_rows;
  return query
  select 'S3', 'WARN', 'schedule ' || s.id, jsonb_build_object(
           'due_at', s.due_at, 'violations', count(*) over ()),
         'select * from runledger.fire_due_schedules()'
    from runledger.job_schedules as s
   where s.is_active and isfinite(s.due_at)
     and s.due_at < _fsck_schedules.now - interval '5 minutes'
   order by s.due_at, s.id limit _fsck_schedules.max_rows;
end
$$;

comment on function runledger._fsck_schedules(uuid, integer, timestamptz) is
  'Invariants S2 and S3: cursors are finite, and no active schedule is overdue by 5 minutes.';
