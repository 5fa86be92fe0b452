create or replace function runledger._mark_runs(
  run_ids uuid[], finished_before timestamptz, dead_letters_before timestamptz, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_ids uuid[] := array(
    select r.id from runledger.workflow_runs as r
     where r.id = any (_mark_runs.run_ids) and r.pruned_at is null
       and r.finished_at < _mark_runs.finished_before
       and not exists (
         select from runledger.workflow_steps as s
           join runledger.job_queue as q on q.id = s.job_id
          where s.workflow_run_id = r.id and q.lease_expires_at > _mark_runs.now)
       and (r.finished_at < _mark_runs.dead_letters_before or r.steps_failed = 0 or not exists (
         select from runledger.workflow_steps as s
          where s.workflow_run_id = r.id and s.status = 'FAILED' and s.job_id is not null))
     order by r.id
       for update skip locked);
begin
  update runledger.workflow_runs as r
     set pruned_at = _mark_runs.now, idempotency_key = null, active_key = null,
         active_key_held = false, updated_at = _mark_runs.now
   where r.id = any (v_ids);
end
$$;

comment on function runledger._mark_runs(uuid[], timestamptz, timestamptz, timestamptz) is
  'Mark those of these runs that may go: finished for long enough, no handler at work, no dead '
  'letter that is kept longer.';
