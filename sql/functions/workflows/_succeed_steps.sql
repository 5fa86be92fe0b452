-- The steps of jobs that have just succeeded, and what they let go. The short way of _settle_steps;
-- the caller holds the runs of the jobs and the jobs.
create or replace function runledger._succeed_steps(
  job_ids uuid[], outputs jsonb[], now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_finished runledger._finished_step[];
begin
  with asked as materialized (
    select a.* from unnest(_succeed_steps.job_ids, _succeed_steps.outputs) as a(job_id, output)
  ), moved as (
    update runledger.workflow_steps as s
       set status = 'SUCCEEDED', output = a.output, finished_at = _succeed_steps.now,
           updated_at = _succeed_steps.now, status_reason = null, last_error_code = null,
           last_error_message = null
      from asked as a
     cross join lateral (
       select x.ctid as place from runledger.workflow_steps as x
        where x.job_id = a.job_id offset 0) as p
     where s.ctid = p.place and s.job_id is not distinct from a.job_id
       and s.status in ('ENQUEUED', 'RUNNING')
    returning s.id, s.workflow_run_id, s.status
  )
  select array_agg(row(m.id, m.workflow_run_id, m.status)::runledger._finished_step)
    into v_finished
    from moved as m;
  perform runledger._finish_steps(v_finished, false, _succeed_steps.now);
end
$$;

comment on function runledger._succeed_steps(uuid[], jsonb[], timestamptz) is
  'Carry the success of jobs over to their steps.';
