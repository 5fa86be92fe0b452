-- What makes one request to enqueue wrong, apart from its job type. Both enqueue verbs ask here.
create or replace function runledger._enqueue_problem(
  payload jsonb, max_attempts integer, timeout_seconds integer, run_at timestamptz,
  idempotency_key text, stage text, now timestamptz)
returns text
language sql immutable parallel safe
as $$
  select case
    when max_attempts not between 1 and runledger._limit('max_attempts')
      then 'job.invalid_max_attempts'
    when timeout_seconds not between 1 and runledger._limit('timeout_seconds')
      then 'job.invalid_timeout'
    when not (run_at > '1970-01-01' and run_at <= runledger._horizon(now))
      then 'job.invalid_run_at'
    when idempotency_key is not null
      and not runledger._is_name(idempotency_key, runledger._limit('key_bytes'))
      then 'job.invalid_idempotency_key'
    when not runledger._is_name(stage, runledger._limit('name_bytes')) then 'job.invalid_stage'
    else runledger._json_problem(payload, runledger._limit('payload_bytes'))
  end
$$;

comment on function runledger._enqueue_problem(
  jsonb, integer, integer, timestamptz, text, text, timestamptz) is
  'Why a job cannot be enqueued with these settings, or NULL.';
