-- What workers hold now, the longest held first: never more than the fleet has slots, so it costs
-- the same at any number of finished or waiting jobs. The look at the attempt is limited so that it
-- stays a look-up: as a join the planner might read all attempts there ever were.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor.
create or replace function runledger.list_running_jobs(
  job_type text default null, contains text default null,
  after_claimed_at timestamptz default null, after_id uuid default null,
  max_rows integer default 100, organization_id uuid default null)
returns setof runledger.running_job
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_at constant timestamptz := coalesce(list_running_jobs.after_claimed_at, '-infinity');
begin
  perform runledger._check_count(list_running_jobs.max_rows, 'max_rows', 'job.invalid_pagination');
  if (list_running_jobs.after_claimed_at is null) <> (list_running_jobs.after_id is null) then
    perform runledger._raise('job.invalid_cursor');
  end if;
  return query
  select q.id, q.job_type, q.organization_id, q.status::text,
         case when s.state <> 'running' then s.state
              when a.started_at is null then 'claimed'
              when a.started_at + make_interval(secs => q.timeout_seconds) < v_now
                then 'over time'
              else s.state end,
         a.worker_id, a.leased_at,
         a.started_at, q.last_heartbeat_at, q.lease_expires_at, q.run_number, q.attempt,
         q.max_attempts, q.timeout_seconds, q.stage, q.progress_done, q.progress_total,
         q.progress_pct, q.workflow_run_id
    from runledger.job_queue as q
   cross join lateral (
     select t.worker_id, t.leased_at, t.started_at from runledger.job_attempts as t
      where t.job_id = q.id and t.run_number = q.run_number and t.attempt = q.attempt limit 1) as a
   cross join lateral (
     select runledger._job_state(
       q.status, q.lease_expires_at, q.next_run_at, q.attempt, v_now) as state) as s
   where q.lease_token is not null
     and (list_running_jobs.job_type is null or q.job_type = list_running_jobs.job_type)
     and (list_running_jobs.contains is null
          or runledger._contains(q.job_type, list_running_jobs.contains))
     and (list_running_jobs.organization_id is null
          or q.organization_id = list_running_jobs.organization_id)
     and (a.leased_at, q.id) > (v_at, coalesce(list_running_jobs.after_id, q.id))
   order by a.leased_at, q.id limit list_running_jobs.max_rows;
end
$$;

comment on function runledger.list_running_jobs(
  text, text, timestamptz, uuid, integer, uuid) is
  'The jobs that workers hold, the longest held first, of a type, of types with these letters in '
  'their name, of a tenant. state: as in the view jobs, and claimed (the handler has '
  'not started) or over time (it runs for longer than its timeout). For the next page give '
  'claimed_at and job_id of the last one as after_claimed_at and after_id. At most 1000 rows a '
  'page.';
