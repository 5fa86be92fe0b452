-- Whether a caller may use what a role left behind: its lease, its registration. Its members may,
-- and the owner of the schema. Asked only when caller and role differ. USAGE, as for privileges: a
-- member without INHERIT has to SET ROLE first. A role that is gone is nobody's.
create or replace function runledger._acts_as(caller text, role_name text)
returns boolean
language plpgsql stable
as $$
begin
  return pg_has_role(_acts_as.caller, current_user, 'USAGE') or exists (
    select from pg_roles as r
     where r.rolname = _acts_as.role_name and pg_has_role(_acts_as.caller, r.oid, 'USAGE'));
end
$$;

comment on function runledger._acts_as(text, text) is
  'Whether the caller is a member of that role, or may act as the owner of the schema.';
