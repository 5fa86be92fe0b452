-- Every error Runledger raises: the one table behind _raise, the README and the Python exceptions.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.error_codes()
returns setof runledger.error_code
language sql immutable parallel safe
security definer set search_path = pg_catalog, pg_temp
as $$
  values
  -- RL001 not found
  ('job.not_found', 'RL001', 'no such job',
   'Check the id and the organization_id; list_jobs() shows what there is.'),
  ('job.definition_not_found', 'RL001', 'no such job type', 'Call define_job() first.'),
  ('job.runtime_config_not_found', 'RL001', 'no runtime config for this job type',
   'Call set_runtime_config() first.'),
  ('worker.not_found', 'RL001', 'no such worker',
   'Call register_worker() first; a worker that was silent for a day is forgotten.'),
  -- RL002 job type unavailable
  ('job.definition_not_found_or_disabled', 'RL002', 'unknown or disabled job type',
   'Call define_job() or enable_job_type().'),
  -- RL003 lease lost
  ('job.lease_owner_mismatch', 'RL003', 'the lease is not yours any more',
   'Stop working on this job: its lease ended or was given to another worker.'),
  ('job.canceled', 'RL003', 'the job was canceled', 'Stop working on this job.'),
  -- RL004 wrong state
  ('job.invalid_state_transition', 'RL004', 'the job is not in a state that allows this',
   'Read its status with get_job(); use replay_job() for a succeeded job.'),
  ('job.workflow_requeue_not_supported', 'RL004', 'a job of a workflow is not requeued on its own',
   'Act on the workflow run instead.'),
  ('job.workflow_handler_continuation_not_enabled', 'RL004', 'this workflow step may not continue',
   'Set allow_continuation on the step.'),
  -- RL010 bad argument
  ('job.invalid_job_type', 'RL010', 'a job type is blank or too long',
   'Use 1 to 200 bytes; see the view limits.'),
  ('job.invalid_worker_id', 'RL010', 'a worker id is blank or too long',
   'Use 1 to 200 bytes; see the view limits.'),
  ('job.invalid_limit', 'RL010', 'a limit is out of range', 'See the view limits for the range.'),
  ('job.invalid_lease_duration', 'RL010', 'lease_seconds is out of range',
   'See the view limits for the range.'),
  ('job.invalid_priority', 'RL010', 'a priority is no integer',
   'Use an integer of 32 bits; larger is claimed first.'),
  ('job.invalid_max_attempts', 'RL010', 'max_attempts is out of range',
   'See the view limits for the range.'),
  ('job.invalid_timeout', 'RL010', 'timeout_seconds is out of range',
   'See the view limits for the range.'),
  ('job.invalid_run_at', 'RL010', 'run_at is no instant within ten years',
   'Give a timestamp with time zone.'),
  ('job.invalid_idempotency_key', 'RL010', 'an idempotency key is blank or too long',
   'Use 1 to 512 bytes; see the view limits.'),
  ('job.invalid_stage', 'RL010', 'a stage is blank or too long', 'Use 1 to 200 bytes.'),
  ('job.invalid_organization_id', 'RL010', 'organization_id is no uuid',
   'Give a uuid or leave it out.'),
  ('job.invalid_tokens', 'RL010', 'job ids and lease tokens do not match',
   'Give two arrays of equal length without NULLs, at most as long as the view limits says.'),
  ('job.invalid_progress', 'RL010', 'progress is negative or beyond its total',
   'done and total are checked after merging with the stored values.'),
  ('job.invalid_completion_progress', 'RL010', 'the final progress is negative or beyond its total',
   'done and total are checked after merging with the stored values.'),
  ('job.invalid_failure_kind', 'RL010', 'unknown failure kind',
   'Use RETRYABLE, TERMINAL, PANICKED or TIMEOUT.'),
  ('job.invalid_error_code', 'RL010', 'an error code is blank or too long', 'Use 1 to 200 bytes.'),
  ('job.invalid_retry_timing', 'RL010', 'not_before is no instant within ten years',
   'Give a timestamp with time zone.'),
  ('job.invalid_retry_delay', 'RL010', 'a delay is negative or too long',
   'Give an interval from 0 to 10 years.'),
  ('job.invalid_continuation_delay', 'RL010', 'a continuation delay is negative or too long',
   'Give an interval from 0 to 10 years.'),
  ('job.invalid_reason', 'RL010', 'a reason is blank or too long', 'Say why in 1 to 8192 bytes.'),
  ('job.invalid_log', 'RL010', 'a log line is blank or too long',
   'See the view limits; long messages belong elsewhere.'),
  ('job.invalid_pagination', 'RL010', 'max_rows is out of range',
   'See the view limits for the range.'),
  ('job.invalid_status', 'RL010', 'unknown job status',
   'Use PENDING, LEASED, SUCCEEDED, DEAD_LETTERED or CANCELED.'),
  ('job.invalid_id', 'RL010', 'a job id is missing or no uuid',
   'Give the uuid that enqueue_job returned.'),
  ('job.invalid_outcome', 'RL010', 'unknown outcome',
   'Use SUCCEEDED, FAILED, CONTINUE or RELEASE.'),
  ('job.invalid_item', 'RL010', 'an item is no object', 'Each item is a JSON object.'),
  ('job.unknown_field', 'RL010', 'an item has an unknown field',
   'Check the spelling; the function comment lists the fields.'),
  ('job.duplicate_item', 'RL010', 'a job appears twice in one batch', 'Send one outcome per job.'),
  ('job.invalid_batch', 'RL010', 'a batch is no array, is empty of meaning or too large',
   'Send a JSON array of at most 10000 items and 32 MiB.'),
  ('job.replay_request_key_blank', 'RL010', 'a replay needs a request key',
   'Give a key of 1 to 512 bytes.'),
  ('job.replay_request_key_too_long', 'RL010', 'a replay request key is too long',
   'Give a key of 1 to 512 bytes.'),
  ('job.replay_reason_blank', 'RL010', 'a replay needs a reason', 'Say why.'),
  ('job_definition.invalid_version', 'RL010', 'version is not positive', 'Count from 1.'),
  ('job_definition.invalid_max_concurrency', 'RL010', 'max_concurrency is out of range',
   'Give 1 or more, or 0 to lift the limit.'),
  ('job_definition.invalid_retry_policy', 'RL010', 'the retry policy makes no sense',
   'retry_base_ms >= 1, retry_max_ms >= retry_base_ms, retry_delays_ms an object of error code to'
   ' milliseconds >= 1.'),
  ('job_definition.invalid_config', 'RL010',
    'a runtime config is an object with a positive schema_version',
   'Give a JSON object.'),
  ('worker.invalid_registration', 'RL010',
    'a worker registers with a list of types and a positive max_jobs',
   'See the comment of register_worker.'),
  ('worker.invalid_idle_time', 'RL010', 'a worker may be idle for at most an hour at a time',
   'Call idle_worker again before then.'),
  ('operations.invalid_scope', 'RL010', 'unknown fsck scope', 'Use fast or full.'),
  -- RL011 JSON refused
  ('json.too_large', 'RL011', 'a JSON value is too large',
   'Store it elsewhere and pass a reference; see the view limits.'),
  ('json.too_deep', 'RL011', 'a JSON value is nested too deeply', 'See the view limits.'),
  ('json.number_out_of_range', 'RL011', 'a JSON number is beyond what common decoders read',
   'Numbers lie within 1e-308 and 1e308, or are zero; pass others as strings.'),
  -- RL013 unsupported isolation
  ('job.idempotency_unsupported_isolation', 'RL013', 'a keyed enqueue needs READ COMMITTED',
   'Call it in a READ COMMITTED transaction.'),
  ('job.claim_unsupported_isolation', 'RL013', 'claiming needs READ COMMITTED',
   'Call it in a READ COMMITTED transaction.'),
  ('job.requeue_unsupported_isolation', 'RL013', 'requeue needs READ COMMITTED',
   'Call it in a READ COMMITTED transaction.'),
  ('job.replay_unsupported_isolation', 'RL013', 'replay needs READ COMMITTED',
   'Call it in a READ COMMITTED transaction.'),
  ('operations.unsupported_isolation', 'RL013', 'maintenance needs READ COMMITTED',
   'Call it in a READ COMMITTED transaction.'),
  -- RL020 the same key for something else
  ('job.idempotency_conflict', 'RL020', 'the idempotency key was used for another request',
   'Use a new key for a new request.'),
  ('job.idempotency_conflict_missing_existing', 'RL021',
    'the job with this key went away meanwhile',
   'Call again.'),
  ('job.replay_idempotency_conflict', 'RL020', 'the replay key was used with another reason',
   'Use a new key.'),
  -- RL021 the job is not as expected
  ('job.requeue_expectation_mismatch', 'RL021', 'the job is not as expected',
   'Read it again and decide anew.'),
  ('job.cancellation_not_quiesced', 'RL021', 'a canceled handler may still be at work',
   'Try again after retry_after.'),
  -- RL090 a bug in Runledger
  ('internal.unknown_error_code', 'RL090', 'an error without an entry in error_codes()',
   'Please report this.')
$$;

comment on function runledger.error_codes() is
  'Every error code with its SQLSTATE, message and hint. The code stands in the DETAIL of the '
  'error, as JSON.';
