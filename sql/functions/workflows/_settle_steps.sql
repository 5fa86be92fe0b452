-- The steps of jobs whose leases ended: finished with their jobs, or queued again. The caller holds
-- the runs of the jobs and the jobs.
create or replace function runledger._settle_steps(
  settlements runledger._settlement[], now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_finished runledger._finished_step[];
begin
  with settled as materialized (
    select x.job_id, x.disposition, x.output, x.kind, x.reason, x.code, x.message, x.refund,
           x.attempt, case x.disposition when 'SUCCEEDED' then 'SUCCEEDED'
             when 'DEAD_LETTERED' then 'FAILED' else 'ENQUEUED'
             end::runledger.step_status as status
      from unnest(_settle_steps.settlements) as x
     where x.workflow_run_id is not null
  ), moved as (
    update runledger.workflow_steps as s
       set status = t.status, updated_at = _settle_steps.now,
           finished_at = case when t.status <> 'ENQUEUED' then _settle_steps.now end,
           started_at = case when t.refund and t.attempt = 1 then null else s.started_at end,
           output = case when t.status = 'SUCCEEDED' then t.output end,
           status_reason = coalesce(t.kind::text, t.reason),
           last_error_code = t.code, last_error_message = t.message
      from settled as t
     cross join lateral (
       select x.ctid as place from runledger.workflow_steps as x
        where x.job_id = t.job_id offset 0) as p
     where s.ctid = p.place and s.job_id is not distinct from t.job_id
       and s.status in ('ENQUEUED', 'RUNNING')
    returning s.id, s.workflow_run_id, s.status
  )
  select array_agg(row(m.id, m.workflow_run_id, m.status)::runledger._finished_step)
    into v_finished
    from moved as m
   where m.status <> 'ENQUEUED';
  if v_finished is not null then
    perform runledger._finish_steps(v_finished, false, _settle_steps.now);
  end if;
end
$$;

comment on function runledger._settle_steps(runledger._settlement[], timestamptz) is
  'Carry the end of leases over to the steps of their jobs.';
