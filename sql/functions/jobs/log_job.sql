-- Write a log line for a job. With a lease token the line must come from the worker that holds it;
-- without one, from a role that may work on jobs of its type.
--
-- Locks:  none; a line that crosses the end of its lease does no harm.
-- Writes: job_logs.
-- Raises: RL001 job.not_found, RL003 with a token that does not hold the lease,
--         RL010 job.invalid_log, RL011 for payload.
create or replace function runledger.log_job(
  job_id uuid, level text, message text, payload jsonb default '{}',
  lease_token bigint default null)
returns bigint
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_caller constant text := runledger._caller();
  v_job record;
  v_id bigint;
begin
  if not runledger._is_name(log_job.level, runledger._limit('name_bytes'))
    or not runledger._is_name(log_job.message, runledger._limit('text_bytes')) then
    perform runledger._raise('job.invalid_log', jsonb_build_object(
      'max_message_bytes', runledger._limit('text_bytes')));
  end if;
  perform runledger._checked_json(log_job.payload, runledger._limit('log_payload_bytes'),
    'payload');
  select q.run_number, q.attempt, q.status, q.lease_token, q.lease_expires_at, q.lease_role,
         q.job_type
    into v_job
    from runledger.job_queue as q
   where q.id = log_job.job_id;
  if not found or (log_job.lease_token is null
    and not v_job.job_type = any (runledger._granted_types('{worker}'))) then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', log_job.job_id));
  elsif log_job.lease_token is not null and (v_job.status <> 'LEASED'
    or v_job.lease_token <> log_job.lease_token or v_job.lease_expires_at <= v_now
    or not coalesce(v_job.lease_role = v_caller
      or runledger._acts_as(v_caller, v_job.lease_role), false)) then
    perform runledger._raise('job.lease_owner_mismatch',
      jsonb_build_object('job_id', log_job.job_id, 'status', v_job.status));
  end if;
  insert into runledger.job_logs as l
    (job_id, run_number, attempt, level, message, payload, occurred_at)
  values (log_job.job_id, v_job.run_number, v_job.attempt, log_job.level, log_job.message,
          coalesce(log_job.payload, '{}'), v_now)
  returning l.id into v_id;
  return v_id;
end
$$;

comment on function runledger.log_job(uuid, text, text, jsonb, bigint) is
  'Write a log line for a job: level is a free word, message at most 8 KiB, payload at most 16 '
  'KiB. Returns the id of the line.';
