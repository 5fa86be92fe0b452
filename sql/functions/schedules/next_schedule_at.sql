-- When fire_due_schedules has something to do next, so that a scheduler can sleep until then.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.next_schedule_at()
returns timestamptz
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
begin
  return (
    select s.due_at from runledger.job_schedules as s
     where s.is_active order by s.due_at limit 1);
end
$$;

comment on function runledger.next_schedule_at() is
  'When the next active schedule is due; in the past: now. NULL: there is none.';
