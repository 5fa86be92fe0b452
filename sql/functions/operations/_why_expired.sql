-- The row may be locked by an open transaction: then no reaper gets at it.
create or replace function runledger._why_expired(
  job runledger._job_case, is_claimed boolean, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_job constant runledger._job_case := _why_expired.job;
  v_live bigint := (select count(*) from runledger.workers as w
                     where w.last_seen_at >= _why_expired.now - interval '3 minutes');
  v_pass timestamptz := (select max(u.last_pass_at) from runledger.upkeep_state as u);
begin
  return query
  select null::integer, 'why.row_locked',
         h.words || ' has locked this job: upkeep and claims pass it by until'
           ' that transaction ends.', h.fix
    from runledger._lock_holders(v_job.locker, null, null, _why_expired.now) as h;
  return next row(null, 'why.lease_expired',
    format('Worker %s held it and is gone or stuck: its lease'
    ' ended %s, its last heartbeat was %s. The upkeep takes it back: %s. %s',
    runledger._one_line(v_job.worker_id),
    runledger._when(v_job.lease_expires_at, _why_expired.now),
    runledger._when(v_job.last_heartbeat_at, _why_expired.now),
    case when _why_expired.is_claimed then 'it was never started, so that costs no attempt'
         when v_job.attempt >= v_job.max_attempts then format(
           'that was attempt %s of %s, so it becomes a dead letter', v_job.attempt,
           v_job.max_attempts)
         else format('it is tried again after 30 s, attempt %s of %s', v_job.attempt + 1,
           v_job.max_attempts) end,
    case when v_live > 0 then format('Each live worker does that every few seconds (%s seen in the'
           ' last 3 minutes); the statement does it now.', v_live)
         else 'No worker was seen in the last 3 minutes, so perhaps nobody does that; the statement'
           ' does it now.' end
      || ' run_maintenance() last worked ' || coalesce(runledger._when(v_pass, _why_expired.now),
        'never') || '.'),
    'select * from runledger.reap_expired_leases(1000);')::runledger.reason;
end
$$;

comment on function runledger._why_expired(runledger._job_case, boolean, timestamptz) is
  'What becomes of a job whose lease ran out, and who sees to it.';
