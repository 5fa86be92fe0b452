create or replace function runledger._metric_families()
returns table (place integer, family text, kind text, help text)
language sql immutable parallel safe
as $$
  values
  (1, 'runledger_schema_info', 'gauge', 'What is installed; always 1.'),
  (2, 'runledger_jobs_pending', 'gauge', 'Jobs that wait, due or not.'),
  (3, 'runledger_jobs_ready', 'gauge', 'Jobs that could be claimed now, paused types included.'),
  (4, 'runledger_oldest_ready_age_seconds', 'gauge',
   'How long the longest due job has been due; 0 if none is.'),
  (5, 'runledger_jobs_leased', 'gauge', 'Jobs that workers hold.'),
  (6, 'runledger_leases_stale', 'gauge', 'Leases that ran out and were not reaped yet.'),
  (7, 'runledger_job_type_paused', 'gauge', '1: claiming is paused.'),
  (8, 'runledger_job_type_disabled', 'gauge', '1: new jobs are refused.'),
  (9, 'runledger_jobs_enqueued_total', 'counter', 'Jobs that were enqueued.'),
  (10, 'runledger_jobs_requeued_total', 'counter', 'New runs of finished jobs, redriven included.'),
  (11, 'runledger_jobs_finished_total', 'counter', 'Jobs that finished, by how.'),
  (12, 'runledger_attempts_finished_total', 'counter',
   'Attempts that their worker or the reaper ended, by how. Canceled ones: see jobs.'),
  (13, 'runledger_attempt_duration_seconds', 'histogram',
   'How long attempts ran, whatever became of them.'),
  (14, 'runledger_workers', 'gauge', 'Registered workers; silent: not heard of for 3 minutes.'),
  (15, 'runledger_schedules', 'gauge', 'Schedules; overdue: by 5 minutes.'),
  (16, 'runledger_workflow_runs', 'gauge', 'Workflow runs that are not finished.'),
  (17, 'runledger_dead_letters', 'gauge',
   'Those of the newest 1000 dead letters that were not requeued.'),
  (18, 'runledger_events_not_rolled_up', 'gauge',
   'Events that upkeep has not counted yet; the counters here include them.')
$$;

comment on function runledger._metric_families() is
  'The families of metrics_prometheus, in their order, with type and help.';
