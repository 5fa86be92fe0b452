-- The canonical form of a list of steps as asked for: order of steps and of dependencies does not
-- matter, settings left out are left out. In the order of their bytes: how a language sorts is
-- another thing on another server, and the next version of its libraries.
create or replace function runledger._workflow_request(
  steps runledger._step_item[], organization_id uuid)
returns jsonb
language plpgsql stable
as $$
begin
  return (
    select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
             'key', s.step_key, 'external', nullif(s.is_external, false), 'job_type', s.job_type,
             'organization_id', coalesce(s.organization_id, _workflow_request.organization_id),
             'priority', s.priority, 'max_attempts', s.max_attempts,
             'timeout_seconds', s.timeout_seconds, 'on_timeout', s.on_timeout,
             'stage', case when not s.is_external then coalesce(s.stage, 'queued') end,
             'allow_continuation', nullif(s.allow_continuation, false)))
           || jsonb_build_object('payload', s.payload,
                'after_success', (select coalesce(jsonb_agg(k order by k collate "C"), '[]')
                                    from unnest(s.after_success) as k),
                'after_terminal', (select coalesce(jsonb_agg(k order by k collate "C"), '[]')
                                     from unnest(s.after_terminal) as k))
           order by s.step_key collate "C")
      from unnest(_workflow_request.steps) as s);
end
$$;

comment on function runledger._workflow_request(runledger._step_item[], uuid) is
  'The canonical form of a list of steps, kept to tell a retry from a conflict.';
