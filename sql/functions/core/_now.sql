-- The only clock. Read it once into a local, after the locks a decision rests on: it is volatile
-- and therefore no index condition. The test suite replaces it in its own databases; there is no
-- setting that could bend it in production.
create or replace function runledger._now()
returns timestamptz
language sql volatile parallel safe
as $$
  select clock_timestamp()
$$;

comment on function runledger._now() is 'The clock of the ledger: the wall clock of the database.';
