-- What is installed here: last migration, contract, package and server version.
--
-- Locks:  nothing.
-- Writes: nothing.
-- Raises: nothing.
create or replace function runledger.schema_info()
returns runledger.schema_state
language sql stable parallel safe
security definer set search_path = pg_catalog, pg_temp
as $$
  select row(
    (select max(m.number) from runledger._migrations m),
    s.contract, s.package_version, s.sha256, current_setting('server_version')
  )::runledger.schema_state
  from runledger._shelves s
  order by s.id desc
  limit 1
$$;

comment on function runledger.schema_info() is
  'What is installed: migration head, contract, package version, checksum of the functions, '
  'server version. Changes nothing. A client compares contract with its own.';
