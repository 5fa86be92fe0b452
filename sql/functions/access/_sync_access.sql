-- Give a role exactly what its kinds may do here, and take from it whatever else it has on our
-- schema, functions, relations, columns and types, also what it has passed on. Only differences are
-- written: no catalog row changes for nothing. The role exists and is not the owner.
create or replace function runledger._sync_access(role_name text)
returns void
language plpgsql volatile
as $$
declare
  v_role constant oid := (
    select r.oid from pg_roles as r where r.rolname = _sync_access.role_name);
  v_kinds constant text[] := array(
    select g.kind from runledger.access_grants as g where g.role_name = _sync_access.role_name);
  v_change record;
begin
  for v_change in
    with held as (
      select 'schema' as type, n.nspname::text as name, a.privilege_type as privilege
        from pg_namespace as n cross join lateral aclexplode(n.nspacl) as a
       where n.nspname = 'runledger' and a.grantee = v_role
      union all
      select 'function', p.proname, a.privilege_type
        from pg_proc as p cross join lateral aclexplode(p.proacl) as a
       where p.pronamespace = 'runledger'::regnamespace and a.grantee = v_role
      union all
      select case c.relkind when 'S' then 'sequence' else 'table' end, c.relname, a.privilege_type
        from pg_class as c cross join lateral aclexplode(c.relacl) as a
       where c.relnamespace = 'runledger'::regnamespace and a.grantee = v_role
      union all
      select 'table', c.relname, format('%s (%I)', a.privilege_type, t.attname)
        from pg_class as c
        join pg_attribute as t on t.attrelid = c.oid
       cross join lateral aclexplode(t.attacl) as a
       where c.relnamespace = 'runledger'::regnamespace and a.grantee = v_role
      union all
      select 'type', t.typname, a.privilege_type
        from pg_type as t cross join lateral aclexplode(t.typacl) as a
       where t.typnamespace = 'runledger'::regnamespace and a.grantee = v_role
    ), wanted as (
      select 'schema' as type, 'runledger' as name, 'USAGE' as privilege
       where cardinality(v_kinds) > 0
      union all
      select case m.object_type when 'view' then 'table' else 'function' end, m.name,
             case m.object_type when 'view' then 'SELECT' else 'EXECUTE' end
        from runledger._access_matrix() as m
       where m.kinds && v_kinds
    )
    select coalesce(h.type, w.type) as type, coalesce(h.name, w.name) as name,
           coalesce(h.privilege, w.privilege) as privilege, h.name is null as is_missing
      from held as h
      full join wanted as w
        on w.type = h.type and w.name = h.name and w.privilege = h.privilege
     where h.name is null or w.name is null
  loop
    execute format(
      case when v_change.is_missing then 'grant %s on %s %s to %I'
           else 'revoke %s on %s %s from %I cascade' end,
      v_change.privilege, v_change.type,
      case v_change.type when 'schema' then 'runledger'
           else format('runledger.%I', v_change.name) end,
      _sync_access.role_name);
  end loop;
end
$$;

comment on function runledger._sync_access(text) is
  'Make the privileges of a role in this schema what its kinds say, no more and no less.';
