-- While no grant of these kinds names job types, EXECUTE is all the right there is: one look at a
-- table of a few rows. From then on the types of the role of the session count, and a role without
-- a grant has none: a restricted role could else call through a function that it made itself.
create or replace function runledger._granted_types(kinds text[])
returns text[]
language plpgsql stable
as $$
declare
  v_caller constant text := runledger._caller();
begin
  if v_caller = current_user then
    return null;
  elsif not exists (
      select from runledger.access_grants as g
       where g.job_types is not null and g.kind = any (_granted_types.kinds))
    or pg_has_role(v_caller, current_user, 'USAGE') then
    return null;
  end if;
  return (
    select case when bool_or(g.job_types is null) then null
                else array(
                  select distinct t.job_type
                    from runledger.access_grants as o
                    join pg_roles as r on r.rolname = o.role_name
                   cross join unnest(o.job_types) as t(job_type)
                   where o.kind = any (_granted_types.kinds)
                     and pg_has_role(v_caller, r.oid, 'USAGE')) end
      from runledger.access_grants as g
      join pg_roles as r on r.rolname = g.role_name
     where g.kind = any (_granted_types.kinds) and pg_has_role(v_caller, r.oid, 'USAGE'));
end
$$;

comment on function runledger._granted_types(text[]) is
  'The job types to which the caller is held in these kinds; NULL: any.';
