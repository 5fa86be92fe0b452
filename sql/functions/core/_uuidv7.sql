-- A time-ordered uuid. PostgreSQL 18 has its own. Before that two calls of one session are
-- microseconds apart, so ids drawn one after another rise.
create or replace function runledger._uuidv7()
returns uuid
language plpgsql volatile parallel safe
as $$
begin
  if current_setting('server_version_num')::integer >= 180000 then
    return uuidv7();
  end if;
  return runledger._uuid_at(clock_timestamp());
end
$$;

comment on function runledger._uuidv7() is 'A uuid of version 7, on any supported server.';
