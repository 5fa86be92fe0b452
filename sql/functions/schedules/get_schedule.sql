-- Everything about one schedule.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing; no row if there is none, or if it belongs to another tenant.
create or replace function runledger.get_schedule(name text, organization_id uuid default null)
returns setof runledger.schedule_record
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  return query
  select s.id, s.name, s.job_type, s.workflow_type, s.organization_id, s.cron_expr, s.timezone,
         s.missed, s.max_jitter_seconds, s.is_active,
         runledger._schedule_state(s.is_active, s.paused_at, s.deferred_at, s.due_at,
           runledger._now()),
         s.paused_at, s.paused_by, s.paused_reason,
         s.next_fire_at, s.due_at, s.last_fired_at, s.deferred_at, s.deferred_until,
         s.deferred_code, s.payload_template, s.workflow_steps, s.created_at, s.updated_at
    from runledger.job_schedules as s
   where s.name = get_schedule.name
     and (get_schedule.organization_id is null
          or s.organization_id = get_schedule.organization_id);
end
$$;

comment on function runledger.get_schedule(text, uuid) is
  'Everything about one schedule, or no row. schedule_id is what its jobs carry.';
