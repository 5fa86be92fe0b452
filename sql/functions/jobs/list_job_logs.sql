-- What the handler of one job, or somebody else, wrote about it: oldest first, or newest first
-- before a line.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor; no row for a job of another tenant.
create or replace function runledger.list_job_logs(
  job_id uuid, after_log_id bigint default null, before_log_id bigint default null,
  max_rows integer default 100, organization_id uuid default null)
returns setof runledger.job_log_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform runledger._check_count(list_job_logs.max_rows, 'max_rows', 'job.invalid_pagination');
  if list_job_logs.after_log_id is not null and list_job_logs.before_log_id is not null then
    perform runledger._raise('job.invalid_cursor');
  end if;
  if not runledger._job_in_scope(list_job_logs.job_id, list_job_logs.organization_id) then
    return;
  end if;
  if list_job_logs.before_log_id is null then
    return query
    select l.id, l.job_id, l.run_number, l.attempt, l.level, l.message, l.payload <> '{}',
           l.occurred_at
      from runledger.job_logs as l
     where l.job_id = list_job_logs.job_id and l.id > coalesce(list_job_logs.after_log_id, 0)
     order by l.id limit list_job_logs.max_rows;
  else
    return query
    select l.id, l.job_id, l.run_number, l.attempt, l.level, l.message, l.payload <> '{}',
           l.occurred_at
      from runledger.job_logs as l
     where l.job_id = list_job_logs.job_id and l.id < list_job_logs.before_log_id
     order by l.id desc limit list_job_logs.max_rows;
  end if;
end
$$;

comment on function runledger.list_job_logs(uuid, bigint, bigint, integer, uuid) is
  'The log lines of a job, oldest first; for the next page give the last log_id as after_log_id. '
  'Newest first: give before_log_id (9223372036854775807 for the first page). The JSON of a line '
  'is read with job_log_payloads(). At most 1000 rows a page.';
