-- W7, W14: a step and its job tell the same. A claim makes the step RUNNING, started or not.
create or replace function runledger._fsck_step_jobs(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_step_jobs.workflow_run_id;
begin
  -- W7: the status of the step follows from that of the job.
  return query
  select 'W7', 'ERROR', 'step ' || s.id, jsonb_build_object('workflow_run_id', s.workflow_run_id,
           'job_id', q.id, 'step_status', s.status, 'job_status', q.status,
           'violations', count(*) over ()),
         runledger._fsck_run_repair(s.workflow_run_id)
    from runledger.workflow_steps as s
    join runledger.job_queue as q on q.id = s.job_id
   cross join lateral (select case q.status when 'PENDING' then 'ENQUEUED'
           when 'LEASED' then 'RUNNING' when 'DEAD_LETTERED' then 'FAILED' else q.status::text
           end::runledger.step_status) as e(status)
   where s.status <> e.status and (v_run is null or s.workflow_run_id = v_run)
   order by s.workflow_run_id, s.ordinal limit _fsck_step_jobs.max_rows;
  -- W14: both belong to the same tenant.
  return query
  select 'W14', 'ERROR', 'step ' || s.id, jsonb_build_object('workflow_run_id', s.workflow_run_id,
           'job_id', q.id, 'organization_id', s.organization_id,
           'job_organization_id', q.organization_id, 'violations', count(*) over ()),
         format('update runledger.job_queue set organization_id = %L where id = %L',
           s.organization_id, q.id)
    from runledger.workflow_steps as s
    join runledger.job_queue as q on q.id = s.job_id
   where s.organization_id is distinct from q.organization_id
     and (v_run is null or s.workflow_run_id = v_run)
   order by s.workflow_run_id, s.ordinal limit _fsck_step_jobs.max_rows;
end
$$;

comment on function runledger._fsck_step_jobs(uuid, integer) is
  'Invariants W7 and W14: a step and its job tell the same.';
