-- An outcome whose lease is not live: the same completion once more after a lost reply, the late
-- word of a canceled handler, or a stale token.
create or replace function runledger._judge_repeat(
  outcome runledger._outcome, job runledger._held_job)
returns runledger.finished_job
language plpgsql stable
as $$
declare
  v_asked constant runledger._outcome := _judge_repeat.outcome;
  v_job constant runledger._held_job := _judge_repeat.job;
  v_caller constant text := runledger._caller();
  v_past runledger.job_attempts;
  v_same boolean;
begin
  if v_job.id is null then
    return row(v_asked.ordinal, v_asked.job_id, 'LEASE_LOST', false, null, null,
      'job.not_found', null, null)::runledger.finished_job;
  end if;
  select a.* into v_past
    from runledger.job_attempts as a
   where a.job_id = v_asked.job_id and a.lease_token = v_asked.lease_token
     and (a.role_name = v_caller or runledger._acts_as(v_caller, a.role_name));
  if v_job.last_lease_token = v_asked.lease_token
    and v_job.last_disposition = 'RELEASED'
    and (v_job.lease_role = v_caller or runledger._acts_as(v_caller, v_job.lease_role)) then
    v_past.disposition := 'RELEASED';
  end if;
  v_same := case v_past.disposition
    when 'SUCCEEDED' then v_asked.outcome = 'SUCCEEDED'
    when 'CONTINUED' then v_asked.outcome = 'CONTINUE'
    when 'RELEASED' then v_asked.outcome = 'RELEASE'
    when 'CANCELED' then false
    else v_past.outcome::text = case when v_asked.outcome = 'FAILED' then v_asked.kind end
      or (v_asked.outcome = 'RELEASE' and v_past.error_code = 'job.released_too_often') end;
  if coalesce(v_same, false) then
    return row(v_asked.ordinal, v_asked.job_id, v_past.disposition, true, v_job.status,
      v_past.effective_next_run_at, v_past.error_code,
      case when v_asked.outcome in ('SUCCEEDED', 'CONTINUE') then v_job.progress_done end,
      case when v_asked.outcome in ('SUCCEEDED', 'CONTINUE') then v_job.progress_total end
      )::runledger.finished_job;
  end if;
  return row(v_asked.ordinal, v_asked.job_id, 'LEASE_LOST', false, v_job.status, null,
    case when v_past.disposition = 'CANCELED' then 'job.canceled'
         else 'job.lease_owner_mismatch' end, null, null)::runledger.finished_job;
end
$$;

comment on function runledger._judge_repeat(runledger._outcome, runledger._held_job) is
  'The recorded disposition of a repeated completion, or LEASE_LOST.';
