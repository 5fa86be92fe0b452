-- The charged claims of one job: oldest first, or newest first before an attempt.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor; no row for a job of another tenant.
create or replace function runledger.list_job_attempts(
  job_id uuid, after_run integer default null, after_attempt integer default null,
  before_run integer default null, before_attempt integer default null,
  max_rows integer default 100, organization_id uuid default null)
returns setof runledger.job_attempt_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  -- A run alone stands for all of it: after it, or before it.
  v_after constant integer := coalesce(list_job_attempts.after_attempt, 2147483647);
  v_before constant integer := coalesce(list_job_attempts.before_attempt, 0);
begin
  perform runledger._check_count(list_job_attempts.max_rows, 'max_rows', 'job.invalid_pagination');
  if (list_job_attempts.after_run is not null and list_job_attempts.before_run is not null)
    or (list_job_attempts.after_attempt is not null and list_job_attempts.after_run is null)
    or (list_job_attempts.before_attempt is not null and list_job_attempts.before_run is null) then
    perform runledger._raise('job.invalid_cursor');
  end if;
  if not runledger._job_in_scope(list_job_attempts.job_id, list_job_attempts.organization_id) then
    return;
  end if;
  if list_job_attempts.before_run is null then
    return query
    select a.job_id, a.run_number, a.attempt, a.worker_id, a.claim_origin, a.leased_at,
           a.started_at, a.finished_at, a.disposition, a.outcome::text, a.error_code,
           a.error_message, a.retry_delay_ms, a.requested_retry_not_before,
           a.effective_next_run_at, a.retry_timing_source, a.role_name
      from runledger.job_attempts as a
     where a.job_id = list_job_attempts.job_id
       and (a.run_number, a.attempt) > (coalesce(list_job_attempts.after_run, 0), v_after)
     order by a.run_number, a.attempt limit list_job_attempts.max_rows;
  else
    return query
    select a.job_id, a.run_number, a.attempt, a.worker_id, a.claim_origin, a.leased_at,
           a.started_at, a.finished_at, a.disposition, a.outcome::text, a.error_code,
           a.error_message, a.retry_delay_ms, a.requested_retry_not_before,
           a.effective_next_run_at, a.retry_timing_source, a.role_name
      from runledger.job_attempts as a
     where a.job_id = list_job_attempts.job_id
       and (a.run_number, a.attempt) < (list_job_attempts.before_run, v_before)
     order by a.run_number desc, a.attempt desc limit list_job_attempts.max_rows;
  end if;
end
$$;

comment on function runledger.list_job_attempts(
  uuid, integer, integer, integer, integer, integer, uuid) is
  'The attempts of a job, oldest first; for the next page give run_number and attempt of the last '
  'one as after_run and after_attempt. Newest first: give before_run (2147483647 for the first '
  'page) and before_attempt. Lease tokens are not told. At most 1000 rows a page.';
