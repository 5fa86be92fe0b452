-- What a run does when it has finished: take its result, give its active key back once no handler
-- of it can be at work any more, and tell who waits. Nothing for runs that are not finished.
create or replace function runledger._close_runs(run_ids uuid[], now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_awaited uuid;
begin
  update runledger.workflow_runs as r
     set result = s.output
    from runledger.workflow_steps as s
   where r.id = any (_close_runs.run_ids) and r.status = 'SUCCEEDED' and r.result is null
     and s.workflow_run_id = any (array[r.id]) and s.step_key = r.result_step_key
     and s.output is not null;
  perform runledger._release_active_keys(_close_runs.run_ids, _close_runs.now);
  for v_awaited in
    select r.id from runledger.workflow_runs as r
     where r.id = any (_close_runs.run_ids) and r.finished_at is not null
       and r.awaited_until > _close_runs.now
  loop
    if pg_notification_queue_usage() < 0.5 then
      perform pg_notify('runledger_run', v_awaited::text);
    end if;
  end loop;
end
$$;

comment on function runledger._close_runs(uuid[], timestamptz) is
  'Result, active key and notification of those of these runs that have finished.';
