-- The verdict on each decoded outcome. The caller holds the job rows locked and has read the clock
-- after that: a lease that ran out while it waited is lost. Success is judged in the statement
-- itself; the rest goes to a function each. (A batch of nothing but plain successes whose leases
-- are live never comes here: _succeed_jobs.)
create or replace function runledger._judge_outcomes(
  outcomes runledger._outcome[], now timestamptz)
returns setof runledger._verdict
language plpgsql stable
as $$
declare
  v_caller constant text := runledger._caller();
begin
  return query
  with asked as materialized (
    select o as outcome, o.ordinal, o.job_id, o.lease_token, o.outcome as asked_for, o.output,
           o.checkpoint, o.done, o.total,
           coalesce(o.code, case when row_number() over (
             partition by o.job_id, o.lease_token order by o.ordinal) > 1
             then 'job.duplicate_item' end) as code
      from unnest(_judge_outcomes.outcomes) as o
  ), held as materialized (
    select a.*, q.id, q.job_type, q.status, q.run_number, q.attempt,
           coalesce(q.status = 'LEASED' and q.lease_token = a.lease_token
             and q.lease_expires_at > _judge_outcomes.now
             and (q.lease_role = v_caller or runledger._acts_as(v_caller, q.lease_role)),
             false) as is_live,
           case
             when a.done < 0 or a.total < 0
               or coalesce(a.done, q.progress_done) > coalesce(a.total, q.progress_total)
               then 'job.invalid_completion_progress'
             when a.asked_for = 'CONTINUE' and q.workflow_run_id is not null and not exists (
               select from runledger.workflow_steps as s
                where s.job_id = q.id and s.allow_continuation)
               then 'job.workflow_handler_continuation_not_enabled' end as misfit,
           row(q.id, q.job_type, q.status, q.run_number, q.attempt, q.max_attempts, q.lease_token,
               q.lease_expires_at, q.last_lease_token, q.last_disposition, q.release_count,
               q.progress_done, q.progress_total, q.workflow_run_id,
               q.lease_role)::runledger._held_job as job
      from asked as a
      left join lateral (select x.* from runledger.job_queue as x
                          where x.id = a.job_id and a.code is null offset 0) as q on true
  ), judged as materialized (
    select h.*, coalesce(h.code, case when h.is_live then h.misfit end) as problem,
           case
             when h.code is not null or not h.is_live or h.misfit is not null then null
             when h.asked_for = 'SUCCEEDED' then
               row(h.ordinal, h.id, h.run_number, h.attempt, h.lease_token, 'SUCCEEDED', null, null,
                   null, null, false, null, null, null, null, h.output, h.checkpoint, h.done,
                   h.total, null, (h.job).workflow_run_id)::runledger._settlement
             else runledger._judge_outcome(h.outcome, h.job, _judge_outcomes.now) end as settlement
      from held as h
  )
  select j.job_id, j.job_type, j.settlement, r.result,
         -- Only the handler that still holds the canceled lease can tell that it is quiet.
         coalesce(j.problem is null and (r.result).code = 'job.canceled'
           and (j.job).lease_token = j.lease_token, false)
    from judged as j
   cross join lateral (select case
      when j.problem is not null then
        row(j.ordinal, j.job_id, 'INVALID', false, j.status, null, j.problem,
            null, null)::runledger.finished_job
      when j.is_live then
        row(j.ordinal, j.job_id, (j.settlement).disposition, false,
            case when (j.settlement).disposition in ('SUCCEEDED', 'DEAD_LETTERED')
                 then (j.settlement).disposition else 'PENDING' end,
            (j.settlement).next_run_at, (j.settlement).code,
            case when (j.settlement).disposition in ('SUCCEEDED', 'CONTINUED')
                 then coalesce(j.done, (j.job).progress_done) end,
            case when (j.settlement).disposition in ('SUCCEEDED', 'CONTINUED')
                 then coalesce(j.total, (j.job).progress_total) end)::runledger.finished_job
      else runledger._judge_repeat(j.outcome, j.job) end as result) as r
   order by j.ordinal;
end
$$;

comment on function runledger._judge_outcomes(runledger._outcome[], timestamptz) is
  'The verdict on each outcome of a batch, in order.';
