create or replace function runledger._jitter(
  schedule_id uuid, base_at timestamptz, max_seconds integer)
returns integer
language sql immutable parallel safe
as $$
  select case when max_seconds > 0 then
    (('x' || left(encode(sha256(
       (schedule_id || '/' || extract(epoch from base_at))::bytea), 'hex'), 8))::bit(32)::bigint
     % (max_seconds + 1))::integer else 0 end
$$;

comment on function runledger._jitter(uuid, timestamptz, integer) is
  'Seconds from 0 to max_seconds, always the same for the same schedule and instant.';
