-- Schedules by name, without what they carry.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_schedules(
  contains text default null, job_type text default null, is_active boolean default null,
  after_name text default null, max_rows integer default 100, organization_id uuid default null)
returns setof runledger.schedule_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._check_count(list_schedules.max_rows, 'max_rows', 'job.invalid_pagination');
  return query
  select s.id, s.name, s.job_type, s.workflow_type, s.organization_id, s.cron_expr, s.timezone,
         s.missed, s.max_jitter_seconds, s.is_active,
         runledger._schedule_state(s.is_active, s.paused_at, s.deferred_at, s.due_at,
           runledger._now()),
         s.paused_at, s.paused_by, s.paused_reason,
         s.next_fire_at, s.due_at, s.last_fired_at, s.deferred_at, s.deferred_until,
         s.deferred_code, s.created_at, s.updated_at
    from runledger.job_schedules as s
   where s.name > coalesce(list_schedules.after_name, '')
     and (list_schedules.contains is null
          or runledger._contains(s.name, list_schedules.contains))
     and (list_schedules.job_type is null or s.job_type = list_schedules.job_type
          or s.workflow_steps @> jsonb_build_array(
               jsonb_build_object('job_type', list_schedules.job_type)))
     and s.is_active = coalesce(list_schedules.is_active, s.is_active)
     and (list_schedules.organization_id is null
          or s.organization_id = list_schedules.organization_id)
   order by s.name limit list_schedules.max_rows;
end
$$;

comment on function runledger.list_schedules(text, text, boolean, text, integer, uuid) is
  'The schedules, ordered by name; contains: part of the name, no wildcards; job_type: those that '
  'start it, also as a step of a workflow. For the next page give the last name as after_name. '
  'At most 1000 rows a page.';
