-- An outcome whose lease is not live: the same completion once more after a lost reply, the late word
-- of a canceled handler, or a stale token.
create or replace function runledger._judge_repeat(
  o runledger._outcome, q runledger._held_job)
returns runledger.finished_job
language plpgsql stable
as $$
declare
  v_past runledger.job_attempts;
  v_same boolean;
begin
  if q.id is null then
    return row(o.ordinal, o.job_id, 'LEASE_LOST', false, null, null, 'job.not_found')::runledger.finished_job;
  end if;
  select a.* into v_past
    from runledger.job_attempts as a
   where a.job_id = o.job_id and a.lease_token = o.lease_token;
  if not found and q.last_lease_token = o.lease_token and q.last_disposition = 'RELEASED' then
    v_past.disposition := 'RELEASED';
  end if;
  v_same := case v_past.disposition
    when 'SUCCEEDED' then o.outcome = 'SUCCEEDED'
    when 'CONTINUED' then o.outcome = 'CONTINUE'
    when 'RELEASED' then o.outcome = 'RELEASE'
    when 'CANCELED' then false
    else v_past.outcome::text = case when o.outcome = 'FAILED' then o.kind end
      or (o.outcome = 'RELEASE' and v_past.error_code = 'job.released_too_often') end;
  if coalesce(v_same, false) then
    return row(o.ordinal, o.job_id, v_past.disposition, true, q.status,
      v_past.effective_next_run_at, v_past.error_code)::runledger.finished_job;
  end if;
  return row(o.ordinal, o.job_id, 'LEASE_LOST', false, q.status, null,
    case when v_past.disposition = 'CANCELED' then 'job.canceled'
         else 'job.lease_owner_mismatch' end)::runledger.finished_job;
end
$$;

comment on function runledger._judge_repeat(runledger._outcome, runledger._held_job) is
  'The recorded disposition of a repeated completion, or LEASE_LOST.';
