-- Say that a worker is here. Not needed for claiming; it is how workers are woken and seen. A name
-- belongs to the role that registered it until that worker is silent for three minutes.
--
-- Locks:  the worker row.
-- Writes: workers.
-- Raises: RL005 access.job_type_not_granted, RL010 job.invalid_worker_id,
--         worker.invalid_registration, RL011 for metadata, RL021 worker.name_taken.
create or replace function runledger.register_worker(
  worker_id text, job_types text[], max_jobs integer default 1, metadata jsonb default '{}')
returns runledger.idle_report
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := runledger._now();
  v_caller constant text := runledger._caller();
begin
  if not runledger._is_name(register_worker.worker_id, runledger._limit('name_bytes')) then
    perform runledger._raise('job.invalid_worker_id');
  end if;
  if register_worker.job_types is null or array_ndims(register_worker.job_types) > 1
    or array_position(register_worker.job_types, null) is not null
    or cardinality(register_worker.job_types) > runledger._limit('worker_types')
    or coalesce(register_worker.max_jobs, 0) < 1 then
    perform runledger._raise('worker.invalid_registration',
      jsonb_build_object('max_types', runledger._limit('worker_types')));
  end if;
  perform runledger._checked_json(
    register_worker.metadata, runledger._limit('metadata_bytes'), 'metadata');
  perform runledger._require_granted(
    register_worker.job_types, runledger._granted_types('{worker}'));
  insert into runledger.workers as w
    (worker_id, job_types, max_jobs, metadata, role_name, registered_at, last_seen_at)
  values (register_worker.worker_id, register_worker.job_types, register_worker.max_jobs,
          coalesce(register_worker.metadata, '{}'), v_caller, v_now, v_now)
  on conflict on constraint workers_pkey do update
     set job_types = excluded.job_types, max_jobs = excluded.max_jobs,
         metadata = excluded.metadata, role_name = excluded.role_name,
         last_seen_at = excluded.last_seen_at
   where w.role_name = v_caller or runledger._acts_as(v_caller, w.role_name)
      or w.last_seen_at < v_now - interval '3 minutes';
  if not found then
    perform runledger._raise('worker.name_taken');
  end if;
  return row(register_worker.worker_id, null)::runledger.idle_report;
end
$$;

comment on function runledger.register_worker(text, text[], integer, jsonb) is
  'Say that a worker is here, what it handles and how many jobs at once; call it again every '
  'minute or so to stay seen. metadata: free JSON, say host and version.';
