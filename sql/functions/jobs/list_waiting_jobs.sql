-- The pending jobs of a type in the order in which they are claimed: one walk along the index of
-- claiming, whatever else is in the queue.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor.
create or replace function runledger.list_waiting_jobs(
  job_type text, after_priority integer default null,
  after_next_run_at timestamptz default null, after_id uuid default null,
  max_rows integer default 100, organization_id uuid default null)
returns setof runledger.job_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_level constant integer := coalesce(list_waiting_jobs.after_priority, 2147483647);
  v_at constant timestamptz := coalesce(list_waiting_jobs.after_next_run_at, '-infinity');
  v_id constant uuid := coalesce(
    list_waiting_jobs.after_id, '00000000-0000-0000-0000-000000000000');
begin
  perform runledger._check_count(list_waiting_jobs.max_rows, 'max_rows', 'job.invalid_pagination');
  if num_nulls(list_waiting_jobs.after_priority, list_waiting_jobs.after_next_run_at,
               list_waiting_jobs.after_id) not in (0, 3) then
    perform runledger._raise('job.invalid_cursor');
  end if;
  -- The rest of the level at which the last page ended, then those below.
  return query
  select w.*
    from (
      (select q.id as job_id from runledger.job_queue as q
        where q.status = 'PENDING' and q.job_type = list_waiting_jobs.job_type
          and q.priority = v_level and (q.next_run_at, q.id) > (v_at, v_id)
          and (list_waiting_jobs.organization_id is null
               or q.organization_id = list_waiting_jobs.organization_id)
        order by q.next_run_at, q.id limit list_waiting_jobs.max_rows)
      union all
      (select q.id from runledger.job_queue as q
        where q.status = 'PENDING' and q.job_type = list_waiting_jobs.job_type
          and q.priority < v_level
          and (list_waiting_jobs.organization_id is null
               or q.organization_id = list_waiting_jobs.organization_id)
        order by q.priority desc, q.next_run_at, q.id limit list_waiting_jobs.max_rows)
    ) as p
   cross join lateral (
     select s.* from runledger._job_summaries as s where s.job_id = p.job_id) as w
   order by w.priority desc, w.next_run_at, w.job_id limit list_waiting_jobs.max_rows;
end
$$;

comment on function runledger.list_waiting_jobs(
  text, integer, timestamptz, uuid, integer, uuid) is
  'The pending jobs of a type, due or not, in the order of claiming, of a tenant. For the next '
  'page give priority, next_run_at and job_id of the last one as after_priority, '
  'after_next_run_at and after_id. At most 1000 rows a page.';
