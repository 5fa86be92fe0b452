create or replace function runledger._prune(
  caller text, older_than interval, dead_letters_older_than interval, history_older_than interval,
  reason text, max_rows bigint, may_drop boolean, mark bigint, now timestamptz)
returns setof runledger.upkeep_report
language plpgsql volatile
as $$
declare
  v_horizon constant timestamptz := greatest(
    runledger._prune_horizon(_prune.older_than, _prune.now),
    runledger._prune_horizon(_prune.dead_letters_older_than, _prune.now),
    runledger._prune_horizon(_prune.history_older_than, _prune.now));
  v_rollup runledger.upkeep_report;
  v_runs bigint;
  v_jobs bigint;
  v_lines bigint;
  v_dropped integer;
  v_pass runledger.prune_passes;
  v_over boolean;
begin
  perform from runledger.prune_passes as p
    where p.caller = _prune.caller order by p.caller for no key update skip locked;
  if not found and exists (
    select from runledger.prune_passes as p where p.caller = _prune.caller) then
    return;
  end if;
  v_rollup := runledger._count_first(_prune.mark, v_horizon, _prune.now);
  if v_rollup.task is not null then
    return next v_rollup;
    if runledger._is_uncounted(v_horizon) then
      return;
    end if;
  end if;
  if not runledger._start_pass(_prune.caller, _prune.older_than, _prune.dead_letters_older_than,
    _prune.history_older_than, _prune.reason, _prune.now) then
    return;
  end if;
  v_runs := runledger._prune_runs(_prune.caller, _prune.max_rows, _prune.now);
  v_jobs := runledger._prune_jobs(_prune.caller, _prune.max_rows - v_runs, _prune.now);
  v_lines := runledger._prune_default('job_events', _prune.caller,
    _prune.max_rows - v_runs - v_jobs, _prune.now);
  v_lines := v_lines + runledger._prune_default('job_logs', _prune.caller,
    _prune.max_rows - v_runs - v_jobs - v_lines, _prune.now);
  select p.* into strict v_pass
    from runledger.prune_passes as p where p.caller = _prune.caller;
  v_over := coalesce(v_pass.after_run_id, v_pass.after_job_id) is null
    and coalesce(v_pass.after_event_block, v_pass.after_log_block) is null;
  return next row('workflows', v_runs, v_pass.after_run_id is not null)::runledger.upkeep_report;
  return next row('jobs', v_jobs, v_pass.after_job_id is not null)::runledger.upkeep_report;
  return next row('history', v_lines, coalesce(v_pass.after_event_block, v_pass.after_log_block)
    is not null)::runledger.upkeep_report;
  if v_over and v_runs + v_jobs + v_lines = 0 and _prune.may_drop then
    v_dropped := runledger._drop_partition(_prune.caller, _prune.now);
    -- After one was dropped there may be another. One that is in use is left for the next pass.
    v_over := v_dropped = 0;
  elsif v_over then
    v_over := runledger._oldest_partition(_prune.history_older_than, _prune.now) is null;
  end if;
  return next row('partitions', coalesce(v_dropped, 0), not v_over and coalesce(
    v_pass.after_run_id, v_pass.after_job_id) is null and coalesce(v_pass.after_event_block,
    v_pass.after_log_block) is null)::runledger.upkeep_report;
  if v_over then
    update runledger.prune_passes as p set ended_at = _prune.now where p.caller = _prune.caller;
  end if;
end
$$;

comment on function runledger._prune(
  text, interval, interval, interval, text, bigint, boolean, bigint, timestamptz) is
  'One call of a pass, unless metrics must be counted first: runs, jobs, old rows of the default '
  'partitions; when there was none of these, one partition is dropped. Ages of 0: for ever.';
