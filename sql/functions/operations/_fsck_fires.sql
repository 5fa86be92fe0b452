-- S1: an instant of a schedule fired once. A fast look trusts the unique index while it stands. The
-- repair lets the oldest job stand for the fire; whether the others should run is for people to
-- say.
create or replace function runledger._fsck_fires(
  everything boolean, workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  if _fsck_fires.workflow_run_id is not null or (not _fsck_fires.everything
    and runledger._is_guarded('job_queue', array['job_queue_one_job_per_fire'])) then
    return;
  end if;
  return query
  with doubled as materialized (
    select q.schedule_id, q.scheduled_for, count(*) over () as violations
      from runledger.job_queue as q
     where q.schedule_id is not null
     group by q.schedule_id, q.scheduled_for having count(*) > 1
     order by q.schedule_id, q.scheduled_for limit _fsck_fires.max_rows
  )
  select 'S1', 'ERROR', 'schedule ' || s.schedule_id, jsonb_build_object(
           'scheduled_for', s.scheduled_for, 'jobs', count(*),
           'job_ids', (array_agg(q.id order by q.id))[:10], 'violations', s.violations),
         format('update runledger.job_queue set schedule_id = null, scheduled_for = null'
           ' where id = any (%L)', (array_agg(q.id order by q.id))[2:])
    from doubled as s
    join runledger.job_queue as q
      on q.schedule_id = s.schedule_id and q.scheduled_for = s.scheduled_for
   group by s.schedule_id, s.scheduled_for, s.violations
   order by s.schedule_id, s.scheduled_for;
end
$$;

comment on function runledger._fsck_fires(boolean, uuid, integer) is
  'Invariant S1: no instant of a schedule fires twice.';
