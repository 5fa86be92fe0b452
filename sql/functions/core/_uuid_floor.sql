-- Ids are drawn from the clock, so a range of time is a range of ids: no index on created_at is
-- needed to walk what is old.
create or replace function runledger._uuid_floor(at timestamptz)
returns uuid
language plpgsql immutable parallel safe
as $$
begin
  if not _uuid_floor.at > 'epoch' then
    return '00000000-0000-0000-0000-000000000000';
  elsif _uuid_floor.at > '9999-12-31' then
    return 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  end if;
  return (lpad(to_hex(floor(extract(epoch from _uuid_floor.at) * 1000)::bigint), 12, '0')
    || repeat('0', 20))::uuid;
end
$$;

comment on function runledger._uuid_floor(timestamptz) is
  'The smallest uuid of version 7 that can be drawn at that instant.';
