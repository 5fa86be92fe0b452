-- Every limit, once: the functions, the view limits, the documentation and the tests read this.
create or replace function runledger._limits()
returns table (name text, value bigint, unit text, meaning text)
language sql immutable parallel safe
as $$
  values
  ('payload_bytes',      262144::bigint, 'bytes',
   'payload, output, checkpoint of a job, as JSON text and as stored'),
  ('inputs_bytes',         1048576, 'bytes',
   'inputs handed out with a claim; above it they are paged by step_inputs'),
  ('metadata_bytes',         65536, 'bytes',
   'metadata of a workflow run, runtime config, metadata of a worker'),
  ('log_payload_bytes',      16384, 'bytes',   'payload of a log line'),
  ('text_bytes',              8192, 'bytes',   'log message, error message (cut), reason'),
  ('name_bytes',               200, 'bytes',
   'job type, worker id, stage, error code, step key, schedule name'),
  ('key_bytes',                512, 'bytes',
   'idempotency key, replay key, active key, mutation key'),
  ('json_depth',                64, 'levels',  'nesting of any JSON value'),
  ('batch_items',            10000, 'items',   'items of one batch call'),
  ('batch_bytes',         33554432, 'bytes',   'one batch call'),
  ('max_jobs',                1000, 'jobs',    'jobs of one claim, reap, redrive or heartbeat'),
  ('max_rows',                1000, 'rows',    'rows of one page'),
  ('lease_seconds',          86400, 'seconds', 'length of a lease; at least 1'),
  ('timeout_seconds',      2592000, 'seconds', 'time a handler may take; at least 1'),
  ('max_attempts',           10000, 'attempts','attempts of one run; at least 1'),
  ('max_concurrency',       100000, 'jobs',    'fleet-wide limit of a job type'),
  ('horizon_days',            3650, 'days',
   'how far ahead run_at, a delay or not_before may lie'),
  ('releases',                 100, 'releases','releases in one run that refund the attempt'),
  ('priorities_marked',         32, 'lanes',
   'priorities for which a claim remembers where it left off; half of them may be barren'),
  ('cheap_look',              1000, 'entries',
   'index entries that a claim may meet from the start of the queue as often as it likes'),
  ('idle_seconds',            3600, 'seconds', 'how far ahead a worker may say that it is idle'),
  ('workflow_steps',         10000, 'steps',   'steps of one enqueue_workflow or append'),
  ('run_steps',             100000, 'steps',   'steps of one run, appended ones included'),
  ('run_edges',             200000, 'edges',   'edges of one enqueue_workflow or append'),
  ('worker_types',            1000, 'types',   'job types of one claim or of one worker'),
  ('cron_bytes',              1000, 'bytes',   'a cron expression'),
  ('jitter_seconds',         86400, 'seconds', 'most jitter of a schedule'),
  ('max_schedules',           1000, 'schedules', 'schedules of one fire_due_schedules'),
  ('fired_jobs',              1000, 'jobs',
   'jobs and steps that one fire_due_schedules starts; the rest is left to the next call'),
  ('prune_rows',            100000, 'rows',    'rows that one prune deletes'),
  ('prune_looks',            10000, 'rows',
   'jobs that one prune looks at; a tenth of it for runs and for blocks of a default partition'),
  ('catalog_items',           1000, 'items',
   'job types of one sync_catalog; as many schedules'),
  ('catalog_lock_seconds',       5, 'seconds', 'how long sync_catalog waits for a lock'),
  ('late_seconds',              60, 'seconds', 'how late a schedule with missed SKIP may fire')
$$;

comment on function runledger._limits() is 'The limits, once; the view limits shows them.';
