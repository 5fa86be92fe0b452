-- Inside a definer function current_user is the owner of the schema.
create or replace function runledger._is_owner()
returns boolean
language sql stable
as $$
  select pg_has_role(runledger._caller(), current_user, 'USAGE')
$$;

comment on function runledger._is_owner() is
  'Whether the caller is the owner of the schema, a member of it, or a superuser.';
