-- What happened to one job: oldest first, or newest first before an event.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor; no row for a job of another tenant.
create or replace function runledger.list_job_events(
  job_id uuid, after_event_id bigint default null, before_event_id bigint default null,
  max_rows integer default 100, organization_id uuid default null)
returns setof runledger.job_event_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set max_parallel_workers_per_gather = 0 set jit = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform runledger._check_count(list_job_events.max_rows, 'max_rows', 'job.invalid_pagination');
  if list_job_events.after_event_id is not null and list_job_events.before_event_id is not null then
    perform runledger._raise('job.invalid_cursor');
  end if;
  if not runledger._job_in_scope(list_job_events.job_id, list_job_events.organization_id) then
    return;
  end if;
  if list_job_events.before_event_id is null then
    return query
    select e.id, e.job_id, e.run_number, e.attempt, e.event_type::text, e.stage, e.progress_done,
           e.progress_total, e.payload, e.occurred_at
      from runledger.job_events as e
     where e.job_id = list_job_events.job_id and e.id > coalesce(list_job_events.after_event_id, 0)
     order by e.id limit list_job_events.max_rows;
  else
    return query
    select e.id, e.job_id, e.run_number, e.attempt, e.event_type::text, e.stage, e.progress_done,
           e.progress_total, e.payload, e.occurred_at
      from runledger.job_events as e
     where e.job_id = list_job_events.job_id and e.id < list_job_events.before_event_id
     order by e.id desc limit list_job_events.max_rows;
  end if;
end
$$;

comment on function runledger.list_job_events(uuid, bigint, bigint, integer, uuid) is
  'The events of a job, oldest first; for the next page give the last event_id as '
  'after_event_id. Newest first: give before_event_id (9223372036854775807 for the first page). '
  'detail is what Runledger wrote of the event, never a payload of the job. At most 1000 rows a '
  'page.';
