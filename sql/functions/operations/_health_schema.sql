-- schema.*: indexes that a failed build left behind, constraints that nobody validated, and what is
-- not as the last apply left it.
create or replace function runledger._health_schema()
returns setof runledger.health_check
language plpgsql stable
as $$
begin
  return query
  select c.*
    from (select count(*) as n,
                 string_agg(i.indexrelid::regclass::text, ', ' order by r.relname) as names,
                 string_agg(format('reindex index %s', i.indexrelid::regclass), '; '
                   order by r.relname) as fix
            from pg_index as i
            join pg_class as r on r.oid = i.indexrelid
           where r.relnamespace = 'runledger'::regnamespace
             and not (i.indisvalid and i.indisready)) as i
   cross join lateral runledger._health_check('schema.indexes', i.n, format(
     'Written to and not read: %s. Reindex, concurrently where people are at work, or drop what a '
     'failed build left.', i.names), i.fix, jsonb_build_object('indexes', i.names)) as c;
  return query
  select c.*
    from (select count(*) as n, string_agg(k.conname, ', ' order by k.conname) as names,
                 string_agg(format('alter table %s validate constraint %I', k.conrelid::regclass,
                   k.conname), '; ' order by k.conname) as fix
            from pg_constraint as k
           where k.connamespace = 'runledger'::regnamespace and not k.convalidated) as k
   cross join lateral runledger._health_check('schema.constraints', k.n, format(
     'Rows that were there before are not checked: %s. fsck() finds those that violate them.',
     k.names), k.fix, jsonb_build_object('constraints', k.names)) as c;
  return query
  with drift as materialized (
    select d.kind, d.name, d.change, d.definition from runledger._schema_drift() as d
  ), shown as (
    select count(*) as n, jsonb_agg(jsonb_build_object('kind', d.kind, 'name', d.name, 'change',
             d.change) order by d.kind, d.name) as objects,
           string_agg(d.name || ' ' || lower(d.change), ', ' order by d.kind, d.name) as what,
           string_agg(d.definition, '; ' order by d.kind, d.name) filter (
             where d.kind in ('indexes', 'constraints')) as fix
      from drift as d
  )
  select c.*
    from shown as s
   cross join lateral runledger._health_check('schema.drift', s.n, format(
     'Not as installed: %s. Functions and views are put back by `runledger migrate`, unless one '
     'was added: drop that first.', left(s.what, 500)),
     coalesce(s.fix, 'runledger migrate'),
     jsonb_build_object('objects', coalesce(jsonb_path_query_array(s.objects, '$[0 to 9]'),
       '[]'))) as c;
end
$$;

comment on function runledger._health_schema() is 'Indexes, constraints, functions and views.';
