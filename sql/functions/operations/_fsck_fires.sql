-- S1: an instant of a schedule fired once. The repair lets the oldest job stand for the fire;
-- whether the others should run is for people to say.
create or replace function runledger._fsck_fires(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  with doubled as materialized (
    select q.schedule_id, q.scheduled_for, count(*) over () as violations
      from runledger.job_queue as q
     where q.schedule_id is not null and _fsck_fires.workflow_run_id is null
     group by q.schedule_id, q.scheduled_for having count(*) > 1
     order by q.schedule_id, q.scheduled_for limit _fsck_fires.max_rows
  )
  select 'S1', 'ERROR', 'schedule ' || s.schedule_id, jsonb_build_object(
           'scheduled_for', s.scheduled_for, 'jobs', count(*),
           'job_ids', (array_agg(q.id order by q.id))[1:10], 'violations', s.violations),
         format('update runledger.job_queue set schedule_id = null, scheduled_for = null'
           ' where id = any (%L)', (array_agg(q.id order by q.id))[2:])
    from doubled as s
    join runledger.job_queue as q
      on q.schedule_id = s.schedule_id and q.scheduled_for = s.scheduled_for
   group by s.schedule_id, s.scheduled_for, s.violations
   order by s.schedule_id, s.scheduled_for;
end
$$;

comment on function runledger._fsck_fires(uuid, integer) is
  'Invariant S1: no instant of a schedule fires twice.';
