-- The verdict on each decoded outcome. The caller holds the job rows locked and has read the clock
-- after that: a lease that ran out while it waited is lost.
create or replace function runledger._judge_outcomes(
  outcomes runledger._outcome[], now timestamptz)
returns setof runledger._verdict
language plpgsql stable
as $$
declare
  v_row record;
  v_code text;
  v_settlement runledger._settlement;
  v_result runledger.finished_job;
begin
  for v_row in
    select o as outcome, d as definition,
           row(q.id, q.job_type, q.status, q.run_number, q.attempt, q.max_attempts, q.lease_token,
               q.lease_expires_at, q.last_lease_token, q.last_disposition, q.release_count,
               q.progress_done, q.progress_total, q.workflow_run_id)::runledger._held_job as job,
           row_number() over (partition by o.job_id order by o.ordinal) as nth
      from unnest(_judge_outcomes.outcomes) as o
      left join runledger.job_queue as q on q.id = o.job_id and o.code is null
      left join runledger.job_definitions as d on d.job_type = q.job_type
     order by o.ordinal
  loop
    v_settlement := null;
    v_code := coalesce((v_row.outcome).code, case when v_row.nth > 1 then 'job.duplicate_item' end);
    if v_code is null and (v_row.job).status = 'LEASED'
      and (v_row.job).lease_token = (v_row.outcome).lease_token
      and (v_row.job).lease_expires_at > _judge_outcomes.now then
      v_code := runledger._merge_problem(v_row.outcome, v_row.job);
      if v_code is null then
        v_settlement := runledger._judge_outcome(
          v_row.outcome, v_row.job, v_row.definition, _judge_outcomes.now);
        v_result := row((v_row.outcome).ordinal, v_settlement.job_id, v_settlement.disposition,
          false, case when v_settlement.disposition in ('SUCCEEDED', 'DEAD_LETTERED')
                      then v_settlement.disposition else 'PENDING' end,
          v_settlement.next_run_at, v_settlement.code)::runledger.finished_job;
      end if;
    elsif v_code is null then
      v_result := runledger._judge_repeat(v_row.outcome, v_row.job);
    end if;
    if v_code is not null then
      v_result := row((v_row.outcome).ordinal, (v_row.outcome).job_id, 'INVALID', false,
        (v_row.job).status, null, v_code)::runledger.finished_job;
    end if;
    return next row((v_row.outcome).job_id, (v_row.job).job_type, v_settlement, v_result,
      v_result.code is not distinct from 'job.canceled')::runledger._verdict;
  end loop;
end
$$;

comment on function runledger._judge_outcomes(runledger._outcome[], timestamptz) is
  'The verdict on each outcome of a batch, in order.';
