-- The latest dead letter of each job, latest first, without the bodies it keeps.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor.
create or replace function runledger.list_dead_letters(
  job_type text default null, error_code text default null,
  failed_after timestamptz default null, failed_before timestamptz default null,
  before_failed_at timestamptz default null, before_id uuid default null,
  max_rows integer default 100, organization_id uuid default null, is_dead boolean default null)
returns setof runledger.dead_letter
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_at constant timestamptz := coalesce(list_dead_letters.before_failed_at, 'infinity');
  v_id constant uuid := coalesce(
    list_dead_letters.before_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff');
begin
  perform runledger._check_count(list_dead_letters.max_rows, 'max_rows', 'job.invalid_pagination');
  if (list_dead_letters.before_failed_at is null) <> (list_dead_letters.before_id is null) then
    perform runledger._raise('job.invalid_cursor');
  end if;
  -- Two statements: "tenant is null or equal" would keep the index of one tenant from being used.
  if list_dead_letters.organization_id is null then
    return query
    select l.* from runledger._dead_letters as l
     where (l.failed_at, l.job_id) < (v_at, v_id)
       and l.job_type = coalesce(list_dead_letters.job_type, l.job_type)
       and (list_dead_letters.error_code is null or l.error_code = list_dead_letters.error_code)
       and l.failed_at >= coalesce(list_dead_letters.failed_after, '-infinity')
       and l.failed_at < coalesce(list_dead_letters.failed_before, 'infinity')
       and l.is_dead = coalesce(list_dead_letters.is_dead, l.is_dead)
     order by l.failed_at desc, l.job_id desc limit list_dead_letters.max_rows;
  else
    return query
    select l.* from runledger._dead_letters as l
     where l.organization_id = list_dead_letters.organization_id
       and (l.failed_at, l.job_id) < (v_at, v_id)
       and l.job_type = coalesce(list_dead_letters.job_type, l.job_type)
       and (list_dead_letters.error_code is null or l.error_code = list_dead_letters.error_code)
       and l.failed_at >= coalesce(list_dead_letters.failed_after, '-infinity')
       and l.failed_at < coalesce(list_dead_letters.failed_before, 'infinity')
       and l.is_dead = coalesce(list_dead_letters.is_dead, l.is_dead)
     order by l.failed_at desc, l.job_id desc limit list_dead_letters.max_rows;
  end if;
end
$$;

comment on function runledger.list_dead_letters(
  text, text, timestamptz, timestamptz, timestamptz, uuid, integer, uuid, boolean) is
  'Dead letters, latest first, by exact type, error code, time of failure and tenant; is_dead: '
  'whether the job still is one, or was requeued since. For the next page give failed_at and '
  'job_id of the last one as before_failed_at and before_id. From failed_after on, and before '
  'failed_before. At most 1000 rows a page.';
