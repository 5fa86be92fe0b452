-- W5, W6, W8: steps and jobs belong together one to one.
create or replace function runledger._fsck_step_links(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_step_links.workflow_run_id;
begin
  -- W5: a job belongs to at most one step.
  return query
  select 'W5', 'ERROR', 'job ' || s.job_id, jsonb_build_object('steps', count(*),
           'step_ids', (array_agg(s.id order by s.id))[:10], 'violations', count(*) over ()),
         string_agg(distinct runledger._fsck_run_repair(s.workflow_run_id), '; ')
    from runledger.workflow_steps as s
   where s.job_id is not null and (v_run is null or s.workflow_run_id = v_run)
   group by s.job_id having count(*) > 1
   order by s.job_id limit _fsck_step_links.max_rows;
  -- W6: the job of a step exists and says the same run. Finished steps may outlive pruned jobs.
  return query
  select 'W6', 'ERROR', 'step ' || s.id, jsonb_build_object('workflow_run_id', s.workflow_run_id,
           'status', s.status, 'job_id', s.job_id, 'job_exists', q.id is not null,
           'job_workflow_run_id', q.workflow_run_id, 'violations', count(*) over ()),
         case when q.id is null then runledger._fsck_run_repair(s.workflow_run_id)
           else format('update runledger.job_queue set workflow_run_id = %L where id = %L',
             s.workflow_run_id, q.id) end
    from runledger.workflow_steps as s
    left join runledger.job_queue as q on q.id = s.job_id
   where s.job_id is not null and (v_run is null or s.workflow_run_id = v_run)
     and ((q.id is null and s.finished_at is null)
          or (q.id is not null and q.workflow_run_id is distinct from s.workflow_run_id))
   order by s.workflow_run_id, s.ordinal limit _fsck_step_links.max_rows;
  -- W8: the job of a workflow has a step; its outcome would tell nobody.
  return query
  select 'W8', 'ERROR', 'job ' || q.id, jsonb_build_object('workflow_run_id', q.workflow_run_id,
           'status', q.status, 'violations', count(*) over ()),
         format('update runledger.job_queue set workflow_run_id = null where id = %L', q.id)
    from runledger.job_queue as q
   where q.workflow_run_id is not null and (v_run is null or q.workflow_run_id = v_run)
     and not exists (select from runledger.workflow_steps as s where s.job_id = q.id)
   order by q.id limit _fsck_step_links.max_rows;
end
$$;

comment on function runledger._fsck_step_links(uuid, integer) is
  'Invariants W5, W6 and W8: the link between steps and jobs.';
