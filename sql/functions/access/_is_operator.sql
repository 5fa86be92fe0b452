-- By a grant: the owner of the schema is none, since in a small installation the application
-- itself is the owner, and completes gates as ordinary work.
create or replace function runledger._is_operator()
returns boolean
language plpgsql stable
as $$
declare
  v_caller constant text := runledger._caller();
begin
  return v_caller <> current_user and exists (
    select from runledger.access_grants as g
      join pg_roles as r on r.rolname = g.role_name
     where g.kind = 'operator' and pg_has_role(v_caller, r.oid, 'USAGE'));
end
$$;

comment on function runledger._is_operator() is 'Whether the caller was granted to be an operator.';
