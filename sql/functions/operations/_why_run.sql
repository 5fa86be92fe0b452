-- Of the run as a whole: how it ended, or who keeps its row. Whoever changes a step needs that row
-- first, so an open transaction that holds it stops them all.
create or replace function runledger._why_run(run_id uuid, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_run record;
begin
  select r.status, r.status_reason, r.finished_at, r.steps_succeeded, r.steps_total,
         r.steps_failed, r.active_key_held, r.xmax as locker
    into v_run
    from runledger.workflow_runs as r where r.id = _why_run.run_id;
  return query
  select null::integer, 'why.run_locked',
         h.words || ' has locked the run: no step of it can finish until that'
           ' transaction ends.', h.fix
    from runledger._lock_holders(v_run.locker, null, null, _why_run.now) as h
   where v_run.finished_at is null;
  if v_run.finished_at is null then
    return;
  end if;
  return next row(null, case v_run.status when 'SUCCEEDED' then 'why.run_succeeded'
      when 'CANCELED' then 'why.run_canceled' else 'why.run_failed' end,
    format('The run %s %s%s: %s of %s steps succeeded, %s failed or were canceled.%s',
      case v_run.status when 'SUCCEEDED' then 'succeeded' when 'CANCELED' then 'was canceled'
        else 'ended with errors' end,
      runledger._when(v_run.finished_at, _why_run.now),
      ' (' || runledger._one_line(v_run.status_reason) || ')', v_run.steps_succeeded,
      v_run.steps_total, v_run.steps_failed,
      case when v_run.status = 'SUCCEEDED' then ''
        when v_run.status = 'CANCELED' and v_run.active_key_held
          then ' Handlers of it may still be at work; its active key is held until they are quiet.'
        else ' A run does not go on after its end; enqueue_workflow starts another.' end),
    null)::runledger.reason;
end
$$;

comment on function runledger._why_run(uuid, timestamptz) is
  'How a run ended, or which open transaction keeps it from going on.';
