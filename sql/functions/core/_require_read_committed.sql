-- Some verbs wait for a lock and then look again: above READ COMMITTED they would look at an old
-- snapshot. They refuse before they write. (READ UNCOMMITTED is READ COMMITTED in PostgreSQL.)
create or replace function runledger._require_read_committed(code text)
returns void
language plpgsql stable
as $$
begin
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    perform runledger._raise(_require_read_committed.code,
      jsonb_build_object('isolation', current_setting('transaction_isolation')));
  end if;
end
$$;

comment on function runledger._require_read_committed(text) is
  'Raise that code above READ COMMITTED.';
