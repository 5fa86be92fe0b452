-- Lease up to max_jobs due jobs: highest priority first, then longest due. The claim is the start:
-- the attempt is charged and begins here, unless prestart asks for start_jobs.
--
-- Locks:  job_queue rows in claim order, skipping locked ones; for types with max_concurrency a
--         transaction-level advisory lock per type, in type order, only tried. Never waits.
-- Writes: job_queue, job_attempts, job_events; workflow_steps of workflow jobs.
-- Raises: RL005 access.job_type_not_granted, RL010 for each argument out of range,
--         RL013 job.claim_unsupported_isolation.
--
-- The settings keep plans to index scans, and so does how the conditions are put: a plan made while
-- the table was small must not outlive it. Only steps of what was leased come back, so the full
-- join is a left one; but a nested loop, which compares each with each, cannot do it.
create or replace function runledger.claim_jobs(
  worker_id text, job_types text[], max_jobs integer default 1, lease_seconds integer default 60,
  prestart boolean default false)
returns setof runledger.claimed_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_expires_at timestamptz := v_now + make_interval(secs => claim_jobs.lease_seconds);
  v_prestart boolean := coalesce(claim_jobs.prestart, false);
  v_note jsonb := jsonb_build_object('worker_id', claim_jobs.worker_id,
    'lease_duration_seconds', claim_jobs.lease_seconds);
  v_role constant text := runledger._caller();
  v_pick runledger._pick;
begin
  perform runledger._check_claim(claim_jobs.worker_id, claim_jobs.job_types, claim_jobs.max_jobs,
    claim_jobs.lease_seconds);
  perform runledger._require_read_committed('job.claim_unsupported_isolation');
  v_pick := runledger._pick_jobs(claim_jobs.job_types, claim_jobs.max_jobs, v_now);
  if cardinality(v_pick.ids) = 0 then
    return;
  end if;
  return query
  with leased as (
    update runledger.job_queue as q
       set status = 'LEASED', attempt = q.attempt + 1, worker_id = claim_jobs.worker_id,
           lease_token = nextval('runledger.lease_token_seq'), lease_role = v_role,
           lease_expires_at = v_expires_at, last_heartbeat_at = v_now,
           started_at = coalesce(q.started_at, v_now),
           stage = case when v_prestart then q.stage else 'running' end, updated_at = v_now
      from unnest(v_pick.ids, v_pick.places) with ordinality as p(id, place, nth)
     where q.ctid = p.place and q.id is not distinct from p.id
    returning p.nth, q.id, q.lease_token, q.job_type, q.organization_id, q.payload, q.checkpoint,
              q.run_number, q.attempt, q.max_attempts, q.priority, q.timeout_seconds, q.stage,
              q.workflow_run_id, q.created_at
  ), charged as (
    insert into runledger.job_attempts
      (job_id, run_number, attempt, worker_id, lease_token, role_name, claim_origin, leased_at,
       started_at)
    select l.id, l.run_number, l.attempt, claim_jobs.worker_id, l.lease_token, v_role,
           case when v_prestart then 'WORKER_PRESTART' else 'DIRECT' end, v_now,
           case when not v_prestart then v_now end
      from leased as l
  ), logged as (
    insert into runledger.job_events
      (job_id, run_number, attempt, event_type, stage, payload, occurred_at)
    select l.id, l.run_number, l.attempt, 'LEASED', l.stage, v_note, v_now
      from leased as l
  ), stepped as (
    update runledger.workflow_steps as s
       set status = 'RUNNING', started_at = coalesce(s.started_at, v_now), updated_at = v_now
     where s.job_id = any (array(
       select l.id from leased as l where l.workflow_run_id is not null)) and s.status = 'ENQUEUED'
    returning s.job_id, s.step_key,
              runledger._step_inputs(s.id, s.dependency_count_total) as inputs
  )
  select l.id, l.lease_token, l.job_type, l.organization_id, l.payload, l.checkpoint, l.run_number,
         l.attempt, l.max_attempts, l.priority, l.timeout_seconds, v_expires_at,
         l.workflow_run_id, s.step_key, s.inputs, s.job_id is not null and s.inputs is null,
         l.created_at
    from leased as l
    full join stepped as s on s.job_id = l.id
   order by l.nth;
end
$$;

comment on function runledger.claim_jobs(text, text[], integer, integer, boolean) is
  'Lease up to max_jobs due jobs of these types for lease_seconds; no rows when there is nothing '
  'to do. Every later call about a job takes its job_id and lease_token. Call heartbeat_jobs '
  'before lease_expires_at. prestart => true leaves the handler to be started by start_jobs: a '
  'claim that was never started costs no attempt when its lease ends.';
