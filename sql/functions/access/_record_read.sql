-- That somebody looked at bodies. A standby cannot write and records nothing; a read-only
-- transaction on a primary is refused by the server, or reading in one would leave no trace.
create or replace function runledger._record_read(
  action text, object text, detail jsonb default '{}')
returns void
language plpgsql volatile
as $$
begin
  if not pg_is_in_recovery() then
    perform runledger._record_action(
      _record_read.action, _record_read.object, null, _record_read.detail);
  end if;
end
$$;

comment on function runledger._record_read(text, text, jsonb) is
  'Record that bodies were read, unless this is a standby.';
