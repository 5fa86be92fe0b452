-- The request as made, not as resolved: a setting left out stays NULL, so that a later change of a
-- default is no conflict. Compared as jsonb: 1 = 1.0, key order is nothing, instants in
-- microseconds.
create or replace function runledger._enqueue_request(
  payload jsonb, priority integer, max_attempts integer, timeout_seconds integer,
  run_at timestamptz, stage text)
returns jsonb
language sql stable parallel safe
as $$
  select jsonb_build_object(
    'payload', payload, 'priority', priority, 'max_attempts', max_attempts,
    'timeout_seconds', timeout_seconds, 'stage', stage,
    'run_at', to_char(run_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'))
$$;

comment on function runledger._enqueue_request(
  jsonb, integer, integer, integer, timestamptz, text) is
  'The canonical request of a keyed enqueue, kept to tell a retry from a conflict.';
