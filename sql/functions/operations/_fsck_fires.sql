-- S1: an instant of a schedule fired once. The repair lets the oldest job stand for the fire;
-- whether the others should run is for people to say.
create or replace function runledger._fsck_fires(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  with doubled as (
    select q.schedule_id, q.scheduled_for
      from runledger.job_queue as q
     where q.schedule_id is not null and _fsck_fires.workflow_run_id is null
     group by q.schedule_id, q.scheduled_for having count(*) > 1
  )
  select 'S1', 'ERROR', 'schedule ' || s.schedule_id, jsonb_build_object(
           'scheduled_for', s.scheduled_for, 'jobs', cardinality(j.ids), 'job_ids', j.ids[1:10],
           'violations', count(*) over ()),
         format('update runledger.job_queue set schedule_id = null, scheduled_for = null'
           ' where id = any (%L)', j.ids[2:])
    from doubled as s
   cross join lateral (
     select array_agg(q.id order by q.id) as ids
       from runledger.job_queue as q
      where q.schedule_id = s.schedule_id and q.scheduled_for = s.scheduled_for) as j
   order by s.schedule_id, s.scheduled_for limit _fsck_fires.max_rows;
end
$$;

comment on function runledger._fsck_fires(uuid, integer) is
  'Invariant S1: no instant of a schedule fires twice.';
