-- Instants are reckoned with as UTC without a zone: adding a day to a timestamptz follows the zone
-- of the session.
create or replace function runledger._local_time(utc timestamp, timezone text)
returns timestamp
language sql stable parallel safe
as $$
  select (utc at time zone 'UTC') at time zone timezone
$$;

comment on function runledger._local_time(timestamp, text) is
  'What the clocks of a zone show at an instant.';
