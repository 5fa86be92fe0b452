-- Erase what a finished job carried: payload, output, checkpoint, the kept request, dead letter,
-- error messages and log lines. What happened stays.
--
-- Locks:  the job row.
-- Writes: job_queue, job_attempts, job_dead_letters, job_logs, job_events, operator_actions.
-- Raises: RL001 job.not_found, RL004 job.invalid_state_transition, RL010 job.invalid_reason.
create or replace function runledger.redact_job(job_id uuid, reason text)
returns runledger.changed_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz;
  v_mark constant jsonb := '{"_redacted": true}';
  v_job record;
begin
  perform runledger._check_reason(redact_job.reason, true);
  select q.id, q.status, q.run_number, q.attempt, q.payload into v_job
    from runledger.job_queue as q
   where q.id = redact_job.job_id
     for update;
  v_now := runledger._now();
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', redact_job.job_id));
  elsif v_job.status not in ('SUCCEEDED', 'DEAD_LETTERED', 'CANCELED') then
    perform runledger._raise('job.invalid_state_transition',
      jsonb_build_object('job_id', v_job.id, 'status', v_job.status));
  elsif runledger._is_redacted(v_job.payload)
    and not exists (select from runledger.job_logs as l
                     where l.job_id = v_job.id and l.message <> '[redacted]') then
    return row(v_job.id, 'UNCHANGED', v_job.status)::runledger.changed_job;
  end if;
  update runledger.job_queue as q
     set payload = v_mark, checkpoint = case when q.checkpoint is not null then v_mark end,
         output = case when q.output is not null then v_mark end,
         enqueue_request = case when q.enqueue_request is not null then v_mark end,
         last_error_message = case when q.last_error_message is not null then '[redacted]' end,
         updated_at = v_now
   where q.id = v_job.id;
  update runledger.job_attempts as a set error_message = '[redacted]'
   where a.job_id = v_job.id and a.error_message is not null;
  update runledger.job_dead_letters as d
     set payload_snapshot = v_mark, error_message = '[redacted]',
         checkpoint_snapshot = case when d.checkpoint_snapshot is not null then v_mark end
   where d.job_id = v_job.id;
  update runledger.job_logs as l set message = '[redacted]', payload = v_mark
   where l.job_id = v_job.id;
  update runledger.job_events as e set payload = e.payload - 'error_message' || v_mark
   where e.job_id = v_job.id and e.payload ? 'error_message';
  insert into runledger.job_events (job_id, run_number, attempt, event_type, payload, occurred_at)
  values (v_job.id, v_job.run_number, nullif(v_job.attempt, 0), 'REDACTED',
    jsonb_build_object('reason', redact_job.reason, 'by', runledger._caller()), v_now);
  perform runledger._record_action('redact_job', v_job.id::text, redact_job.reason);
  return row(v_job.id, 'REDACTED', v_job.status)::runledger.changed_job;
end
$$;

comment on function runledger.redact_job(uuid, text) is
  'Erase payload, output, checkpoint, kept request, error messages and log lines of a finished '
  'job; its history stays. Copies elsewhere stay too: the step of a workflow and what was made of '
  'its output, replays of the job. disposition REDACTED or UNCHANGED.';
