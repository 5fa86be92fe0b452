-- What people call the state of a schedule. A view runs its functions as whoever reads it, so the
-- readers of `schedules` may call this.
create or replace function runledger._schedule_state(
  is_active boolean, paused_at timestamptz, deferred_at timestamptz, due_at timestamptz,
  at timestamptz)
returns text
language sql immutable parallel safe
as $$
  select case when _schedule_state.paused_at is not null then 'paused'
              when not _schedule_state.is_active then 'inactive'
              when _schedule_state.deferred_at is not null then 'deferred'
              when _schedule_state.due_at < _schedule_state.at - interval '5 minutes'
                then 'overdue'
              else 'active' end
$$;

comment on function runledger._schedule_state(
  boolean, timestamptz, timestamptz, timestamptz, timestamptz) is
  'The state of such a schedule at that instant, in the words of the view schedules.';
