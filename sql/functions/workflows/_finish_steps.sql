-- Steps have finished, their rows say so: tell their dependents and count. were_gates: they were
-- open gates, else active. The caller holds the rows of their runs.
create or replace function runledger._finish_steps(
  finished runledger._finished_step[], were_gates boolean, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_moved runledger._finished_step[] := runledger._advance(
    _finish_steps.finished, _finish_steps.now);
begin
  if _finish_steps.were_gates then
    perform runledger._count_steps(v_moved, _finish_steps.finished, _finish_steps.now);
  else
    perform runledger._count_steps(_finish_steps.finished || v_moved, '{}', _finish_steps.now);
  end if;
end
$$;

comment on function runledger._finish_steps(runledger._finished_step[], boolean, timestamptz) is
  'Tell the dependents of finished steps and count them in their runs.';
