-- Run a succeeded job once more, as a new job: the old one and its output stay.
--
-- Locks:  the source row: a concurrent call about the same source is waited for.
-- Writes: job_queue, job_events, job_replays, operator_actions. Notifies idle workers.
-- Raises: RL001 job.not_found, RL002 job.definition_not_found_or_disabled,
--         RL004 job.invalid_state_transition, job.workflow_requeue_not_supported,
--         RL010 job.replay_request_key_blank/_too_long, job.replay_reason_blank,
--         RL020 job.replay_idempotency_conflict, RL013 job.replay_unsupported_isolation.
create or replace function runledger.replay_job(
  job_id uuid, request_key text, reason text, organization_id uuid default null)
returns runledger.replayed_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_id uuid := runledger._uuidv7();
  v_source record;
  v_past record;
begin
  perform runledger._check_replay(replay_job.request_key, replay_job.reason);
  select q.id, q.status, q.run_number, q.workflow_run_id, q.job_type,
         runledger._is_redacted(q.payload) as is_redacted into v_source
    from runledger.job_queue as q
   where q.id = replay_job.job_id
     and (replay_job.organization_id is null or q.organization_id = replay_job.organization_id)
     for no key update;
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', replay_job.job_id));
  elsif v_source.workflow_run_id is not null then
    perform runledger._raise('job.workflow_requeue_not_supported', jsonb_build_object(
      'job_id', v_source.id, 'workflow_run_id', v_source.workflow_run_id));
  elsif v_source.status <> 'SUCCEEDED' then
    perform runledger._raise('job.invalid_state_transition',
      jsonb_build_object('job_id', v_source.id, 'status', v_source.status));
  end if;
  select r.replay_job_id, r.reason into v_past
    from runledger.job_replays as r
   where r.source_job_id = v_source.id and r.source_run_number = v_source.run_number
     and r.request_key = replay_job.request_key;
  if found then
    if v_past.reason <> replay_job.reason then
      perform runledger._raise('job.replay_idempotency_conflict',
        jsonb_build_object('job_id', v_source.id, 'replay_job_id', v_past.replay_job_id));
    end if;
    return row(v_past.replay_job_id, 'EXISTING')::runledger.replayed_job;
  end if;
  if v_source.is_redacted then
    perform runledger._raise('job.invalid_state_transition', jsonb_build_object(
      'job_id', v_source.id, 'status', v_source.status, 'redacted', true));
  end if;
  perform runledger._enabled_definition(v_source.job_type);
  insert into runledger.job_queue
    (id, job_type, organization_id, payload, priority, max_attempts, timeout_seconds, next_run_at,
     created_at, updated_at)
  select v_id, q.job_type, q.organization_id, q.payload, q.priority, q.max_attempts,
         q.timeout_seconds, v_now, v_now, v_now
    from runledger.job_queue as q
   where q.id = v_source.id;
  insert into runledger.job_replays
    (replay_job_id, source_job_id, source_run_number, request_key, reason, created_at)
  values (v_id, v_source.id, v_source.run_number, replay_job.request_key, replay_job.reason, v_now);
  insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
  values (v_id, 1, 'ENQUEUED', 'queued', jsonb_build_object('job_type', v_source.job_type,
    'replayed_from_job_id', v_source.id, 'replayed_from_run_number', v_source.run_number,
    'reason', replay_job.reason), v_now);
  perform runledger._wake(array[v_source.job_type], v_now);
  perform runledger._record_action('replay_job', v_source.id::text, replay_job.reason,
    jsonb_build_object('replay_job_id', v_id));
  return row(v_id, 'INSERTED')::runledger.replayed_job;
end
$$;

comment on function runledger.replay_job(uuid, text, text, uuid) is
  'Run a succeeded job again as a new job with its payload and settings. The same request_key '
  'gives the same replay (EXISTING); with another reason it is job.replay_idempotency_conflict.';
