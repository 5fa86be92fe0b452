-- W16: what a run and a step were given within its range. The functions check it once, where it
-- comes in, and nothing changes it; a CHECK here would be compiled anew by every statement on these
-- tables (decision 14).
create or replace function runledger._fsck_workflow_values(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_workflow_values.workflow_run_id;
  v_name constant bigint := runledger._limit('name_bytes');
  v_key constant bigint := runledger._limit('key_bytes');
begin
  return query
  select 'W16', 'ERROR', 'workflow run ' || r.id, jsonb_build_object('status', r.status,
           'column', v.name, 'violations', count(*) over ()),
         case when v.mend is null then runledger._fsck_look_at_run(r.id)
           else format('update runledger.workflow_runs set %s where id = %L', v.mend, r.id) end
    from runledger.workflow_runs as r
   cross join lateral (values
     ('workflow_type', not runledger._is_name(r.workflow_type, v_name), null),
     ('idempotency_key', r.idempotency_key is not null
       and not runledger._is_name(r.idempotency_key, v_key), null),
     ('active_key', r.active_key is not null and not runledger._is_name(r.active_key, v_key),
       'active_key = null, active_key_held = false'),
     ('result_step_key', r.result_step_key is not null
       and not runledger._is_name(r.result_step_key, v_name), 'result_step_key = null'),
     ('enqueue_request', r.idempotency_key is not null and r.enqueue_request is null, null)
     ) as v(name, is_wrong, mend)
   where (v_run is null or r.id = v_run) and v.is_wrong
   order by r.id, v.name limit _fsck_workflow_values.max_rows;
  return query
  select 'W16', 'ERROR', 'step ' || s.id, jsonb_build_object('status', s.status,
           'workflow_run_id', s.workflow_run_id, 'kind', s.execution_kind, 'column', v.name,
           'violations', count(*) over ()),
         case when v.mend is null then runledger._fsck_look_at_run(s.workflow_run_id)
           else format('update runledger.workflow_steps set %s where id = %L', v.mend, s.id) end
    from runledger.workflow_steps as s
   cross join lateral (values
     ('step_key', not runledger._is_name(s.step_key, v_name), null),
     ('job_type', s.execution_kind = 'JOB' and s.job_type is null, null),
     ('priority', s.execution_kind = 'JOB' and s.priority is null, 'priority = 0'),
     ('stage', s.execution_kind = 'JOB' and s.stage is null, 'stage = ''queued'''),
     ('max_attempts', s.execution_kind = 'JOB' and not coalesce(s.max_attempts > 0, false),
       'max_attempts = 1'),
     ('timeout_seconds', s.execution_kind = 'JOB' and not coalesce(s.timeout_seconds > 0, false),
       'timeout_seconds = 900'),
     ('execution_kind', s.execution_kind = 'EXTERNAL' and (s.allow_continuation
         or num_nonnulls(s.job_type, s.priority, s.max_attempts, s.timeout_seconds, s.stage) > 0),
       'job_type = null, priority = null, max_attempts = null, timeout_seconds = null,'
       ' stage = null, allow_continuation = false'),
     ('gate_timeout_seconds', (s.gate_timeout_seconds is null) <> (s.on_timeout is null)
         or s.gate_timeout_seconds <= 0
         or s.on_timeout not in ('SUCCEEDED', 'FAILED', 'CANCELED')
         or (s.on_timeout is not null and s.execution_kind = 'JOB'),
       'gate_timeout_seconds = null, on_timeout = null, gate_expires_at = null')
     ) as v(name, is_wrong, mend)
   where (v_run is null or s.workflow_run_id = v_run) and v.is_wrong
   order by s.id, v.name limit _fsck_workflow_values.max_rows;
end
$$;

comment on function runledger._fsck_workflow_values(uuid, integer) is
  'Invariant W16: names, keys and settings of runs and steps within their ranges.';
