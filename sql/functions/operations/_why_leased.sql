create or replace function runledger._why_leased(job runledger._job_case, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_job constant runledger._job_case := _why_leased.job;
  v_attempt record;
  v_is_claimed boolean;
begin
  select a.leased_at, a.started_at, a.claim_origin into v_attempt
    from runledger.job_attempts as a
   where a.job_id = v_job.id and a.run_number = v_job.run_number and a.attempt = v_job.attempt;
  v_is_claimed := v_attempt.claim_origin = 'WORKER_PRESTART' and v_attempt.started_at is null;
  if v_job.lease_expires_at <= _why_leased.now then
    return query
    select w.* from runledger._why_expired(v_job, v_is_claimed, _why_leased.now) as w;
    return;
  end if;
  return query
  select null::integer, case when v_is_claimed then 'why.claimed'
                 when v.over_at <= _why_leased.now then 'why.over_timeout'
                 else 'why.running' end,
         concat(format('Worker %s %s, attempt %s of %s', runledger._one_line(v_job.worker_id),
             case when v_is_claimed
               then 'has claimed it at ' || runledger._when(v_attempt.leased_at, _why_leased.now)
                 || ' and not started it yet'
               else 'runs it since '
                 || runledger._when(v_attempt.started_at, _why_leased.now) end,
             v_job.attempt, v_job.max_attempts),
           case when not v_is_claimed then format(', stage %s%s', runledger._one_line(v_job.stage),
             ', ' || nullif(concat_ws(' of ', v_job.progress_done, v_job.progress_total), '')
               || ' done') end,
           format('. Last heartbeat %s; without another the lease ends %s.',
             runledger._when(v_job.last_heartbeat_at, _why_leased.now),
             runledger._when(v_job.lease_expires_at, _why_leased.now)),
           case when not v_is_claimed and v.over_at <= _why_leased.now
             then format(' It may take %s s and has gone on beyond that, while its worker still'
               ' extends the lease. The statement cancels it.', v_job.timeout_seconds) end),
         case when not v_is_claimed and v.over_at <= _why_leased.now
           then format('select disposition, lease_quiesces_at from runledger.cancel_job(%L,'
                  ' ''beyond its timeout'');', v_job.id) end
    from (select v_attempt.started_at + make_interval(secs => v_job.timeout_seconds)) as v(over_at);
end
$$;

comment on function runledger._why_leased(runledger._job_case, timestamptz) is
  'Who has a leased job in hand since when, how far it is, and whether that should have ended.';
