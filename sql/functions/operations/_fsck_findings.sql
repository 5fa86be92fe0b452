create or replace function runledger._fsck_findings(
  everything boolean, workflow_run_id uuid, max_rows integer, now timestamptz)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_full constant boolean := _fsck_findings.everything;
  v_run constant uuid := _fsck_findings.workflow_run_id;
  v_max constant integer := _fsck_findings.max_rows;
  v_now constant timestamptz := _fsck_findings.now;
begin
  -- The helpers are stable, too: a volatile one would see a snapshot of its own.
  return query select f.* from runledger._fsck_jobs(v_full, v_run, v_max) as f;
  return query select f.* from runledger._fsck_job_numbers(v_full, v_run, v_max, v_now) as f;
  return query select f.* from runledger._fsck_leases(v_full, v_run, v_max, v_now) as f;
  return query select f.* from runledger._fsck_tokens(v_full, v_run, v_max) as f;
  return query select f.* from runledger._fsck_concurrency(v_run, v_max, v_now) as f;
  return query select f.* from runledger._fsck_types(v_run, v_max) as f;
  return query select f.* from runledger._fsck_keys(v_full, v_run, v_max) as f;
  return query select f.* from runledger._fsck_fires(v_full, v_run, v_max) as f;
  return query select f.* from runledger._fsck_schedules(v_run, v_max, v_now) as f;
  if v_full then
    return query select f.* from runledger._fsck_values(v_run, v_max) as f;
    return query select f.* from runledger._fsck_bodies(v_run, v_max) as f;
    return query select f.* from runledger._fsck_leased_attempts(v_run, v_max) as f;
    return query select f.* from runledger._fsck_attempts(v_run, v_max) as f;
    return query select f.* from runledger._fsck_attempt_counts(v_run, v_max) as f;
    return query select f.* from runledger._fsck_attempt_history(v_run, v_max) as f;
    return query select f.* from runledger._fsck_event_paths(v_run, v_max) as f;
    return query select f.* from runledger._fsck_events(v_run, v_max) as f;
    return query select f.* from runledger._fsck_dead_letters(v_run, v_max) as f;
    return query select f.* from runledger._fsck_replays(v_run, v_max) as f;
    return query select f.* from runledger._fsck_workflows(v_run, v_max) as f;
  end if;
end
$$;

comment on function runledger._fsck_findings(boolean, uuid, integer, timestamptz) is
  'What fsck finds, check by check.';
