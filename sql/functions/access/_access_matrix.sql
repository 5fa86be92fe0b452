-- Who may call and read what, once: grant_access, grants.sql, the README and the tests read this.
-- A public function or view that is missing here is granted to nobody and fails a test. `{}`: the
-- owner alone. The one internal is what the view limits reads: a view runs its functions as whoever
-- reads it.
create or replace function runledger._access_matrix()
returns table (object_type text, name text, kinds text[])
language sql immutable parallel safe
as $$
  values
  ('function', 'enqueue_job', '{producer,operator}'::text[]),
  ('function', 'enqueue_jobs', '{producer,operator}'),
  ('function', 'enqueue_workflow', '{producer,operator}'),
  ('function', 'validate_workflow', '{producer,operator}'),
  ('function', 'explain_workflow', '{producer,operator}'),
  ('function', 'append_workflow_steps', '{producer,operator}'),
  ('function', 'complete_external_step', '{producer,operator}'),
  ('function', 'await_workflow', '{producer,operator}'),
  ('function', 'workflow_result', '{producer,operator}'),
  -- work
  ('function', 'claim_jobs', '{worker}'),
  ('function', 'leased_jobs', '{worker}'),
  ('function', 'start_jobs', '{worker}'),
  ('function', 'heartbeat_jobs', '{worker}'),
  ('function', 'report_progress', '{worker}'),
  ('function', 'step_inputs', '{worker}'),
  ('function', 'log_job', '{worker}'),
  ('function', 'finish_jobs', '{worker}'),
  ('function', 'succeed_job', '{worker}'),
  ('function', 'fail_job', '{worker}'),
  ('function', 'continue_job', '{worker}'),
  ('function', 'release_job', '{worker}'),
  ('function', 'register_worker', '{worker}'),
  ('function', 'idle_worker', '{worker}'),
  ('function', 'deregister_worker', '{worker}'),
  -- upkeep: bounded, and right whoever calls it
  ('function', 'runtime_config', '{worker,operator}'),
  ('function', 'run_maintenance', '{worker,operator}'),
  ('function', 'reap_expired_leases', '{worker,operator}'),
  ('function', 'fire_due_schedules', '{worker,operator}'),
  ('function', 'next_schedule_at', '{worker,operator,observer}'),
  -- operation: recorded in operator_actions
  ('function', 'define_job', '{operator}'),
  ('function', 'enable_job_type', '{operator}'),
  ('function', 'disable_job_type', '{operator}'),
  ('function', 'pause_job_type', '{operator}'),
  ('function', 'resume_job_type', '{operator}'),
  ('function', 'set_runtime_config', '{operator}'),
  ('function', 'cancel_job', '{operator}'),
  ('function', 'cancel_workflow', '{operator}'),
  ('function', 'requeue_job', '{operator}'),
  ('function', 'replay_job', '{operator}'),
  ('function', 'redrive_dead_letters', '{operator}'),
  ('function', 'job_payload', '{operator}'),
  ('function', 'correct_payload', '{operator}'),
  ('function', 'redact_job', '{operator}'),
  ('function', 'upsert_schedule', '{operator}'),
  ('function', 'pause_schedule', '{operator}'),
  ('function', 'resume_schedule', '{operator}'),
  ('function', 'delete_schedule', '{operator}'),
  -- looking
  ('function', 'get_job', '{operator,observer}'),
  ('function', 'list_jobs', '{operator,observer}'),
  ('function', 'get_workflow', '{operator,observer}'),
  ('function', 'list_workflows', '{operator,observer}'),
  ('function', 'workflow_tree', '{operator,observer}'),
  ('function', 'workflow_mermaid', '{operator,observer}'),
  ('function', 'preview_schedule', '{operator,observer}'),
  ('function', 'next_fire_at', '{operator,observer}'),
  ('function', 'list_operator_actions', '{operator,observer}'),
  ('function', 'fsck', '{operator,observer}'),
  ('view', 'access', '{operator,observer}'),
  ('view', 'dead_letters', '{operator,observer}'),
  ('view', 'job_timeline', '{operator,observer}'),
  ('view', 'jobs', '{operator,observer}'),
  ('view', 'running_jobs', '{operator,observer}'),
  ('view', 'schedules', '{operator,observer}'),
  ('view', 'worker_status', '{operator,observer}'),
  ('view', 'workflow_step_status', '{operator,observer}'),
  ('view', 'workflows', '{operator,observer}'),
  -- everybody who has any kind
  ('function', 'error_codes', '{producer,worker,operator,observer}'),
  ('function', 'schema_info', '{producer,worker,operator,observer}'),
  ('view', 'limits', '{producer,worker,operator,observer}'),
  ('function', '_limits', '{producer,worker,operator,observer}'),
  -- the owner of the schema
  ('function', 'grant_access', '{}'),
  ('function', 'revoke_access', '{}')
$$;

comment on function runledger._access_matrix() is
  'Which kinds of role may call each public function and read each view.';
