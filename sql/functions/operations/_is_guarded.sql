-- Whether these constraints and unique indexes of a table stand: valid, and word for word as the
-- last apply left them. Then no row can violate what they say, and nobody needs to read the rows.
create or replace function runledger._is_guarded(table_name text, names text[])
returns boolean
language sql stable
as $$
  select count(*) = cardinality(_is_guarded.names)
    from pg_class as r
   cross join lateral (
     select s.manifest from runledger._shelves as s order by s.id desc limit 1) as m
    join unnest(_is_guarded.names) as n(name) on exists (
           select from pg_constraint as k
            where k.conrelid = r.oid and k.conname = n.name and k.convalidated
              and m.manifest #>> array['constraints', r.relname || '.' || n.name] = format(
                'alter table runledger.%I add constraint %I %s', r.relname, k.conname,
                pg_get_constraintdef(k.oid)))
         or exists (
           select from pg_index as i
             join pg_class as c on c.oid = i.indexrelid and c.relname = n.name
            where i.indrelid = r.oid and i.indisunique and i.indisvalid and i.indisready
              and m.manifest #>> array['indexes', n.name] = pg_get_indexdef(i.indexrelid))
   where r.relname = _is_guarded.table_name and r.relnamespace = 'runledger'::regnamespace
$$;

comment on function runledger._is_guarded(text, text[]) is
  'Whether the constraints and unique indexes of these names stand as the last apply left them.';
