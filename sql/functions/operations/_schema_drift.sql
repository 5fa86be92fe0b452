-- What somebody changed by hand since the last apply. Functions and views are the business of
-- `runledger migrate`; a lost index or constraint can be made as it was. An index or constraint
-- that was added is the owner's own affair.
create or replace function runledger._schema_drift()
returns table (kind text, name text, change text, definition text)
language sql stable
as $$
  with applied as materialized (
    select k.key as kind, o.key as name, o.value as definition
      from (select s.manifest from runledger._shelves as s order by s.id desc limit 1) as s
     cross join lateral jsonb_each(s.manifest) as k
     cross join lateral jsonb_each_text(k.value) as o
  ), present as (
    select k.key as kind, o.key as name, o.value as definition
      from jsonb_each(runledger._schema_manifest(false)) as k
     cross join lateral jsonb_each_text(k.value) as o
  )
  select coalesce(a.kind, p.kind), coalesce(a.name, p.name),
         case when p.name is null then 'LOST' when a.name is null then 'ADDED' else 'CHANGED' end,
         a.definition
    from applied as a
    full join present as p on p.kind = a.kind and p.name = a.name
   where p.name is null
      or (a.name is null and p.kind in ('functions', 'views'))
      -- Of functions alone: of the others the present definition is not asked for, or empty.
      or a.definition <> p.definition
   order by 1, 2
$$;

comment on function runledger._schema_drift() is
  'Functions, views, indexes and constraints that are not as the last apply left them.';
