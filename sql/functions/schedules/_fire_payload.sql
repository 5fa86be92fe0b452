create or replace function runledger._fire_payload(
  template jsonb, schedule_id uuid, name text, scheduled_for timestamptz)
returns jsonb
language sql stable
as $$
  select case when jsonb_typeof(template) = 'object' then template
              else jsonb_build_object('payload', template) end
         || jsonb_build_object('_schedule', jsonb_build_object(
              'schedule_id', schedule_id, 'schedule_name', name, 'scheduled_for',
              to_char(scheduled_for at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
$$;

comment on function runledger._fire_payload(jsonb, uuid, text, timestamptz) is
  'Payload of a scheduled job: the template, which is wrapped unless it is an object, and '
  '_schedule.';
