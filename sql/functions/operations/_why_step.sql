-- What is to be said of a step that has no open job of its own.
create or replace function runledger._why_step(
  run_id uuid, step runledger._step_case, now timestamptz)
returns runledger.reason
language plpgsql stable
as $$
declare
  v_step constant runledger._step_case := _why_step.step;
  v_root constant text := runledger._one_line(v_step.root_key);
begin
  if v_step.status = 'WAITING_FOR_EXTERNAL' then
    return runledger._why_gate(_why_step.run_id, v_step, _why_step.now);
  elsif v_step.status = 'BLOCKED' then
    return row(null, 'why.step_blocked',
      format('It waits for %s: %s%s. What moves first on that way'
      ' is %s.', case when v_step.pending = 1 then 'one step'
        else v_step.pending || ' steps' end, v_step.because,
      case when v_step.pending > 5 then format(' and %s more', v_step.pending - 5) else '' end,
      case when v_step.root_key is null then 'a step of another tenant'
           else format('%s (%s)%s', v_root, v_step.root_status,
             case when v_step.root_expires_at <= _why_step.now
                    then ', whose time is over; the statement has the upkeep end it'
                  when v_step.root_job_id is null then '; the statement completes that gate'
                  else '; the statement asks why that job is not done' end) end),
      case when v_step.root_key is null then null
        when v_step.root_expires_at <= _why_step.now
          then 'select * from runledger.run_maintenance();'
        when v_step.root_job_id is null
          then runledger._complete_gate(_why_step.run_id, v_step.root_key)
        else format('select * from runledger.why(%L);', v_step.root_job_id) end)::runledger.reason;
  elsif v_step.status = 'CANCELED' and v_step.because is not null then
    return row(null, case when v_step.finished_at = v_step.created_at
        then 'why.step_born_unsatisfied' else 'why.step_unsatisfied' end,
      format('It never ran: it needs the success of %s%s.%s%s', v_step.because,
        case when v_step.finished_at = v_step.created_at
          then ', which had ended already when it was appended' else '' end,
        case when v_root || format(' (%s)', v_step.root_status) <> v_step.because
          then format(' That began with %s (%s).', v_root, v_step.root_status) else '' end,
        ' A step is not let go afterwards; to run it, start the workflow anew.'),
      null)::runledger.reason;
  elsif v_step.status in ('ENQUEUED', 'RUNNING') then
    return row(null, 'why.step_open', format('Its job %s; the statement tells of it.',
      case when v_step.status = 'RUNNING' then 'runs' else 'waits to be claimed' end),
      format('select * from runledger.why(%L);', v_step.job_id))::runledger.reason;
  end if;
  return row(null, case v_step.status when 'SUCCEEDED' then 'why.step_succeeded'
      when 'FAILED' then 'why.step_failed' else 'why.step_canceled' end,
    format('It %s %s%s%s.', case v_step.status when 'SUCCEEDED' then 'succeeded'
        when 'FAILED' then 'failed for good' else 'was canceled' end,
      runledger._when(v_step.finished_at, _why_step.now),
      ' (' || runledger._one_line(v_step.status_reason) || ')',
      case when v_step.last_error_code is not null then ' with ' || concat_ws(': ',
        v_step.last_error_code, runledger._one_line(v_step.last_error_message)) else '' end),
    case when v_step.status <> 'SUCCEEDED' and v_step.job_id is not null
      then format('select * from runledger.job_timeline where job_id = %L;', v_step.job_id)
      end)::runledger.reason;
end
$$;

comment on function runledger._why_step(uuid, runledger._step_case, timestamptz) is
  'Why a step without an open job stands where it does.';
