-- Jobs, newest first, without their JSON bodies. Page by giving the last job_id as before_id.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_status.
create or replace function runledger.list_jobs(
  job_type text default null, status text default null, organization_id uuid default null,
  worker_id text default null, created_after timestamptz default null,
  created_before timestamptz default null, before_id uuid default null,
  max_rows integer default 100, contains text default null)
returns setof runledger.job_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_before constant uuid := coalesce(list_jobs.before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
begin
  perform runledger._check_count(list_jobs.max_rows, 'max_rows', 'job.invalid_pagination');
  if list_jobs.status not in ('PENDING', 'LEASED', 'SUCCEEDED', 'DEAD_LETTERED', 'CANCELED') then
    perform runledger._raise('job.invalid_status');
  end if;
  -- Two statements: "tenant is null or equal" would keep the index of one tenant from being used.
  if list_jobs.organization_id is null then
    return query
    select s.* from runledger._job_summaries as s
     where s.job_id < v_before
       and s.job_type = coalesce(list_jobs.job_type, s.job_type)
       and s.status = coalesce(list_jobs.status, s.status)
       and (list_jobs.contains is null or runledger._contains(s.job_type, list_jobs.contains))
       and (list_jobs.worker_id is null or s.worker_id = list_jobs.worker_id)
       and s.created_at > coalesce(list_jobs.created_after, '-infinity')
       and s.created_at < coalesce(list_jobs.created_before, 'infinity')
     order by s.job_id desc limit list_jobs.max_rows;
  else
    return query
    select s.* from runledger._job_summaries as s
     where s.organization_id = list_jobs.organization_id and s.job_id < v_before
       and s.job_type = coalesce(list_jobs.job_type, s.job_type)
       and s.status = coalesce(list_jobs.status, s.status)
       and (list_jobs.contains is null or runledger._contains(s.job_type, list_jobs.contains))
       and (list_jobs.worker_id is null or s.worker_id = list_jobs.worker_id)
       and s.created_at > coalesce(list_jobs.created_after, '-infinity')
       and s.created_at < coalesce(list_jobs.created_before, 'infinity')
     order by s.job_id desc limit list_jobs.max_rows;
  end if;
end
$$;

comment on function runledger.list_jobs(
  text, text, uuid, text, timestamptz, timestamptz, uuid, integer,
  text) is
  'Jobs, newest first, filtered by exact type, status, tenant, worker and time of creation, '
  'without payloads; contains: part of the name of the type, no wildcards. For the next page give '
  'the last job_id as before_id. created_after and created_before leave that very instant out. At '
  'most 1000 rows a page.';
