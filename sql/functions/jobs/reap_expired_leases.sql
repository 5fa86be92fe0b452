-- End the leases that ran out: their workers are gone or stuck. Also forgets canceled leases whose
-- handlers must be quiet by now.
--
-- Locks:  workflow_runs of the jobs by id, then job_queue rows by id, skipping locked ones. Never
--         waits.
-- Writes: job_queue, job_attempts, job_events, job_dead_letters; the steps and runs of workflow
--         jobs. Notifies idle workers.
-- Raises: RL010 job.invalid_limit, job.invalid_retry_delay, RL013 operations.unsupported_isolation.
create or replace function runledger.reap_expired_leases(
  max_jobs integer default 100, retry_delay interval default '30 seconds')
returns setof runledger.reaped_lease
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := runledger._now();
  v_ids uuid[];
  v_settlements runledger._settlement[];
  v_workers jsonb;
  v_seconds constant numeric := extract(epoch from reap_expired_leases.retry_delay);
  v_delay interval;
begin
  perform runledger._check_count(reap_expired_leases.max_jobs, 'max_jobs', 'job.invalid_limit');
  -- As an interval a year is less than what it comes to, see _as_delay_ms.
  if not coalesce(v_seconds between 0 and runledger._limit('horizon_days') * 86400, false) then
    perform runledger._raise('job.invalid_retry_delay');
  end if;
  v_delay := make_interval(secs => v_seconds::double precision);
  perform runledger._require_read_committed('operations.unsupported_isolation');
  v_ids := runledger._lock_expired(reap_expired_leases.max_jobs, v_now);
  if cardinality(v_ids) = 0 then
    return;
  end if;
  begin
    update runledger.job_queue as q
       set lease_token = null, lease_expires_at = null, updated_at = v_now
     where q.id = any (v_ids) and q.status = 'CANCELED';
    perform runledger._release_active_keys(array(
      select q.workflow_run_id from runledger.job_queue as q
       where q.id = any (v_ids) and q.status = 'CANCELED' and q.workflow_run_id is not null),
      v_now);
  exception when others then
    -- A token that ran out holds nothing; it must not keep the leases of others from being ended.
    if left(sqlstate, 2) in ('53', '57', 'XX') then
      raise;
    end if;
  end;
  select jsonb_object_agg(q.id, jsonb_build_array(q.job_type, q.worker_id)) into v_workers
    from runledger.job_queue as q where q.id = any (v_ids);
  v_settlements := runledger._reap_verdicts(v_ids, v_delay, v_now);
  begin
    perform runledger._settle(v_settlements, v_now);
  exception when others then
    if left(sqlstate, 2) in ('53', '57', 'XX') then
      raise;
    end if;
    v_settlements := runledger._settle_apart(v_settlements, v_delay, v_now);
  end;
  perform runledger._wake((select array_agg(distinct v_workers -> s.job_id::text ->> 0)
    from unnest(v_settlements) as s where s.next_run_at <= v_now), v_now);
  return query
  select s.job_id, v_workers -> s.job_id::text ->> 0, s.run_number, s.attempt,
         v_workers -> s.job_id::text ->> 1, s.disposition, s.next_run_at,
         coalesce(s.code, s.reason)
    from unnest(v_settlements) as s;
end
$$;

comment on function runledger.reap_expired_leases(integer, interval) is
  'End up to max_jobs expired leases. disposition RETRY_SCHEDULED (due again after retry_delay), '
  'DEAD_LETTERED (that was the last attempt), RELEASED (the handler was never started; uncharged) '
  'or DEFERRED (the row could not be settled, code has the SQLSTATE; tried again later).';
