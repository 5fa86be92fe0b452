-- R1, R2: replays. Their source may have been pruned; while it is there it stands as it did,
-- because SUCCEEDED is final.
create or replace function runledger._fsck_replays(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  if _fsck_replays.workflow_run_id is not null then
    return;
  end if;
  -- R1: a replay is a job, of the type and tenant of its source, which succeeded in that run.
  return query
  select 'R1', 'ERROR', 'job ' || r.replay_job_id, jsonb_build_object(
           'source_job_id', r.source_job_id, 'source_run_number', r.source_run_number,
           'job_exists', q.id is not null, 'source_status', s.status,
           'violations', count(*) over ()),
         format('delete from runledger.job_replays where replay_job_id = %L', r.replay_job_id)
    from runledger.job_replays as r
    left join runledger.job_queue as q on q.id = r.replay_job_id
    left join runledger.job_queue as s on s.id = r.source_job_id
   where q.id is null
      or (s.id is not null and (s.status <> 'SUCCEEDED' or s.run_number <> r.source_run_number
          or s.job_type <> q.job_type or s.organization_id is distinct from q.organization_id))
   order by r.replay_job_id limit _fsck_replays.max_rows;
  -- R2: a source is replayed once per request key.
  return query
  select 'R2', 'ERROR', 'job ' || r.source_job_id, jsonb_build_object(
           'source_run_number', r.source_run_number, 'replays', count(*),
           'replay_job_ids', (array_agg(r.replay_job_id order by r.replay_job_id))[:10],
           'violations', count(*) over ()),
         format('delete from runledger.job_replays where replay_job_id = any (%L)',
           (array_agg(r.replay_job_id order by r.replay_job_id))[2:])
    from runledger.job_replays as r
   group by r.source_job_id, r.source_run_number, r.request_key
  having count(*) > 1
   order by r.source_job_id, r.source_run_number limit _fsck_replays.max_rows;
end
$$;

comment on function runledger._fsck_replays(uuid, integer) is 'Invariants R1 and R2: replays.';
