-- Inside a definer function current_user is the owner; the role the caller acts as is what SET ROLE
-- left, or the login role. A caller cannot forge either.
create or replace function runledger._caller()
returns text
language sql stable
as $$
  select coalesce(nullif(current_setting('role'), 'none'), session_user)
$$;

comment on function runledger._caller() is 'The role on whose behalf a public function runs.';
