-- 48 bits of milliseconds, 12 bits of the fraction of a millisecond, the rest random.
create or replace function runledger._uuid_at(at timestamptz)
returns uuid
language plpgsql volatile parallel safe
as $$
declare
  v_micros constant bigint := extract(epoch from _uuid_at.at) * 1000000;
begin
  return (
    lpad(to_hex(v_micros / 1000), 12, '0')
    || '7' || lpad(to_hex((v_micros % 1000) * 4096 / 1000), 3, '0')
    || substr(replace(gen_random_uuid()::text, '-', ''), 17)
  )::uuid;
end
$$;

comment on function runledger._uuid_at(timestamptz) is 'A uuid of version 7 drawn at an instant.';
