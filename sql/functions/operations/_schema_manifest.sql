-- Stored at each apply and compared ever after. Functions carry a checksum of what decides their
-- behaviour; indexes and constraints their definition, so that a lost one can be made again. Only
-- names are compared of those: another server version writes the same definition differently, and
-- writing it takes long.
-- What belongs to partitions comes and goes with them.
create or replace function runledger._schema_manifest(definitions boolean)
returns jsonb
language sql stable
as $$
  select jsonb_build_object(
    'functions', (
      select jsonb_object_agg(
               p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')',
               left(encode(sha256(convert_to(jsonb_build_array(p.prosrc, p.prosecdef, p.proconfig,
                 p.provolatile, p.proretset, l.lanname)::text, 'UTF8')), 'hex'), 32))
        from pg_proc as p
        join pg_language as l on l.oid = p.prolang
       where p.pronamespace = n.oid),
    'views', (
      select jsonb_object_agg(c.relname, '')
        from pg_class as c
       where c.relnamespace = n.oid and c.relkind = 'v'),
    'indexes', (
      select jsonb_object_agg(c.relname, case when _schema_manifest.definitions
               then pg_get_indexdef(i.indexrelid) end)
        from pg_class as c
        join pg_index as i on i.indexrelid = c.oid
        join pg_class as r on r.oid = i.indrelid
       where r.relnamespace = n.oid and not r.relispartition),
    'constraints', (
      select jsonb_object_agg(r.relname || '.' || k.conname,
               case when _schema_manifest.definitions then format(
                 'alter table runledger.%I add constraint %I %s', r.relname, k.conname,
                 pg_get_constraintdef(k.oid)) end)
        from pg_constraint as k
        join pg_class as r on r.oid = k.conrelid
       where k.connamespace = n.oid and k.contype <> 'n' and not r.relispartition))
    from pg_namespace as n
   where n.nspname = 'runledger'
$$;

comment on function runledger._schema_manifest(boolean) is
  'What is in the schema now: functions with checksums, views, indexes and constraints, these two '
  'with their definitions or without.';
