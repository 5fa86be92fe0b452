-- Enqueue one job, in the transaction of the caller.
--
-- Locks:  none that anybody else waits for; a keyed call waits for a concurrent one with its key.
-- Writes: job_queue, job_events. Notifies workers that are idle for this type.
-- Raises: RL002 job.definition_not_found_or_disabled, RL005 access.job_type_not_granted, RL010,
--         RL011; for keyed calls RL013, RL020, and RL021 if the job that had the key is gone
--         meanwhile: call again.
create or replace function runledger.enqueue_job(
  job_type text, payload jsonb default '{}', organization_id uuid default null,
  priority integer default null, max_attempts integer default null,
  timeout_seconds integer default null, run_at timestamptz default null,
  idempotency_key text default null, stage text default 'queued')
returns runledger.enqueued_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_payload jsonb := coalesce(enqueue_job.payload, '{}');
  v_granted constant text[] := runledger._granted_types('{producer,operator}');
  v_request jsonb;
  v_existing runledger.enqueued_job;
  v_id uuid;
  v_wakes boolean;
begin
  if v_granted is not null then
    perform runledger._require_granted(array[enqueue_job.job_type], v_granted);
  end if;
  -- An expression is made anew in each transaction: what most calls need is one of its own.
  if num_nonnulls(enqueue_job.max_attempts, enqueue_job.timeout_seconds, enqueue_job.run_at,
      enqueue_job.idempotency_key) = 0 and enqueue_job.stage = 'queued' then
    perform runledger._refuse(runledger._json_problem(
      v_payload, runledger._limit('payload_bytes')));
  else
    perform runledger._refuse(runledger._enqueue_problem(v_payload, enqueue_job.max_attempts,
      enqueue_job.timeout_seconds, enqueue_job.run_at, enqueue_job.idempotency_key,
      enqueue_job.stage, v_now));
  end if;
  if enqueue_job.idempotency_key is not null then
    v_request := runledger._enqueue_request(v_payload, enqueue_job.priority,
      enqueue_job.max_attempts, enqueue_job.timeout_seconds, enqueue_job.run_at, enqueue_job.stage);
    v_existing := runledger._existing_job(enqueue_job.job_type, enqueue_job.organization_id,
      enqueue_job.idempotency_key, v_request);
    if v_existing.job_id is not null then
      return v_existing;
    end if;
  end if;
  with inserted as (
    insert into runledger.job_queue
      (id, job_type, organization_id, payload, priority, max_attempts, timeout_seconds,
       next_run_at, stage, idempotency_key, enqueue_request, created_at, updated_at)
    select runledger._uuidv7(), d.job_type, enqueue_job.organization_id, v_payload,
           coalesce(enqueue_job.priority, d.default_priority),
           coalesce(enqueue_job.max_attempts, d.max_attempts),
           coalesce(enqueue_job.timeout_seconds, d.default_timeout_seconds),
           coalesce(enqueue_job.run_at, v_now), enqueue_job.stage, enqueue_job.idempotency_key,
           v_request, v_now, v_now
      from runledger.job_definitions as d
     where d.job_type = enqueue_job.job_type and d.is_enabled
    on conflict do nothing
    returning id
  )
  insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
  select n.id, 1, 'ENQUEUED', enqueue_job.stage,
         jsonb_build_object('job_type', enqueue_job.job_type), v_now
    from inserted as n
  returning job_id, coalesce(enqueue_job.run_at <= v_now, true) and exists (
    select from runledger.workers as w where w.idle_until > v_now) into v_id, v_wakes;
  if v_id is null then
    return runledger._rival_job(enqueue_job.job_type, enqueue_job.organization_id,
      enqueue_job.idempotency_key, v_request);
  elsif v_wakes then
    perform runledger._wake(array[enqueue_job.job_type], v_now);
  end if;
  return row(v_id, 'INSERTED', 'PENDING', 1)::runledger.enqueued_job;
end
$$;

comment on function runledger.enqueue_job(
  text, jsonb, uuid, integer, integer, integer, timestamptz, text, text) is
  'Enqueue one job; settings left out come from its definition. With an idempotency_key the same '
  'request again gives the same job (disposition EXISTING), another request is '
  'job.idempotency_conflict. payload: any JSON of at most 256 KiB. run_at: not before this '
  'instant. Returns job_id, disposition INSERTED or EXISTING, status, run_number.';
