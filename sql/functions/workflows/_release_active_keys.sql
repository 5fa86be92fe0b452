-- A canceled handler may still be at work: until its lease would have ended, or it says that it is
-- quiet, the key of its run stays taken. Called again by whoever learns that it is quiet.
create or replace function runledger._release_active_keys(run_ids uuid[], now timestamptz)
returns void
language plpgsql volatile
as $$
begin
  update runledger.workflow_runs as r
     set active_key_held = false, updated_at = _release_active_keys.now
   where r.id = any (_release_active_keys.run_ids) and r.active_key_held
     and r.finished_at is not null
     and not exists (
       select from runledger.job_queue as q
        where q.lease_token is not null and q.workflow_run_id = r.id
          and q.lease_expires_at > _release_active_keys.now);
end
$$;

comment on function runledger._release_active_keys(uuid[], timestamptz) is
  'Give back the active keys of finished runs whose handlers are quiet.';
