-- A time-ordered uuid. PostgreSQL 18 has its own; before that: 48 bits of milliseconds, 12 bits of
-- the fraction of a millisecond, the rest random. Two calls of one session are microseconds apart,
-- so ids drawn one after another rise.
create or replace function runledger._uuidv7()
returns uuid
language plpgsql volatile parallel safe
as $$
declare
  v_micros bigint;
begin
  if current_setting('server_version_num')::integer >= 180000 then
    return uuidv7();
  end if;
  v_micros := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
  return (
    lpad(to_hex(v_micros / 1000), 12, '0')
    || '7' || lpad(to_hex((v_micros % 1000) * 4096 / 1000), 3, '0')
    || substr(replace(gen_random_uuid()::text, '-', ''), 17)
  )::uuid;
end
$$;

comment on function runledger._uuidv7() is 'A uuid of version 7, on any supported server.';
