-- End leases: success, failure, continuation, release, a whole batch at once. Resending the
-- identical outcome after a lost reply is safe: it is recognised by its token and reported as
-- replayed.
--
-- Locks:  workflow_runs of the jobs by id, job_queue rows by id. A row that somebody else holds is
--         waited for.
-- Writes: job_queue, job_attempts, job_dead_letters, job_events; the steps and runs of workflow
--         jobs and the jobs they let go. Notifies idle workers of what is due.
-- Raises: RL010 job.invalid_batch, RL013 workflow.unsupported_isolation for jobs of workflows;
--         everything else is a disposition of its item.
create or replace function runledger.finish_jobs(outcomes jsonb)
returns setof runledger.finished_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_now timestamptz := runledger._now();
  v_results runledger.finished_job[];
  v_outcomes runledger._outcome[];
  v_ids uuid[];
  v_runs uuid[];
  v_verdicts runledger._verdict[];
  v_settlements runledger._settlement[];
  v_quiet uuid[];
  v_due text[];
begin
  perform runledger._check_batch(finish_jobs.outcomes);
  v_results := runledger._succeed_jobs(finish_jobs.outcomes);
  if v_results is not null then
    return query select r.* from unnest(v_results) as r;
    return;
  end if;
  select array_agg(runledger._decode_outcome(j.item, j.ordinal::integer, v_now) order by j.ordinal)
    into v_outcomes
    from jsonb_array_elements(finish_jobs.outcomes) with ordinality as j(item, ordinal);
  v_ids := array(select o.job_id from unnest(v_outcomes) as o where o.code is null);
  v_runs := runledger._lock_runs(v_ids, false);
  if cardinality(v_runs) > 0 then
    perform runledger._require_read_committed('workflow.unsupported_isolation');
  end if;
  perform from runledger.job_queue as q where q.id = any (v_ids) order by q.id for update;
  v_now := runledger._now();
  v_verdicts := array(select v from runledger._judge_outcomes(v_outcomes, v_now) as v);
  select array_agg(v.settlement order by v.job_id)
           filter (where (v.settlement).disposition is not null),
         array_agg(v.job_id order by v.job_id) filter (where v.quiets),
         array_agg(distinct v.job_type) filter (where (v.settlement).next_run_at <= v_now)
    into v_settlements, v_quiet, v_due
    from unnest(v_verdicts) as v;
  if v_settlements is not null then
    perform runledger._settle(v_settlements, v_now);
  end if;
  if v_quiet is not null then
    update runledger.job_queue as q
       set lease_token = null, lease_expires_at = null, updated_at = v_now
     where q.id = any (v_quiet);
    perform runledger._release_active_keys(v_runs, v_now);
  end if;
  if v_due is not null then
    perform runledger._wake(v_due, v_now);
  end if;
  return query select (v.result).* from unnest(v_verdicts) as v;
end
$$;

comment on function runledger.finish_jobs(jsonb) is
  'End leases. outcomes: array of {job_id, lease_token, outcome} with outcome SUCCEEDED {output, '
  'checkpoint, done, total}, FAILED {error_code, error_message, kind, not_before}, CONTINUE '
  '{delay, checkpoint, done, total} or RELEASE {reason, delay}; delay in seconds or as an '
  'interval. One row per item, in order: disposition SUCCEEDED, RETRY_SCHEDULED, DEAD_LETTERED, '
  'CONTINUED, RELEASED, LEASE_LOST (the lease is not yours any more) or INVALID (why in code; '
  'nothing was written for it). replayed: it was recorded before. At most 10000 items and 32 MiB.';
