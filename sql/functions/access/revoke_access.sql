-- Take a kind from a role, or all of them, and with the last one everything it has in this schema.
-- Leases that it holds end when they expire.
--
-- Locks:  access_grants, against other grants; the catalog rows of what is revoked.
-- Writes: access_grants, operator_actions; privileges on schema, functions and views.
-- Raises: RL010 access.invalid_kind, access.role_refused.
create or replace function runledger.revoke_access(role_name text, kind text default null)
returns setof runledger.access_grant
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_revoked runledger.access_grant[];
begin
  if revoke_access.kind not in ('producer', 'worker', 'operator', 'observer') then
    perform runledger._raise('access.invalid_kind');
  elsif revoke_access.role_name = current_user or lower(revoke_access.role_name) = 'public' then
    perform runledger._raise('access.role_refused',
      jsonb_build_object('role', revoke_access.role_name));
  end if;
  lock table runledger.access_grants in share row exclusive mode;
  with revoked as (
    delete from runledger.access_grants as g
     where g.role_name = revoke_access.role_name
       and g.kind = coalesce(revoke_access.kind, g.kind)
    returning g.role_name, g.kind, g.job_types
  )
  select array_agg(row(r.role_name, r.kind, r.job_types, 'REVOKED')::runledger.access_grant
           order by r.kind) into v_revoked
    from revoked as r;
  -- Also without a row: what was granted by hand goes, too.
  if exists (select from pg_roles as r where r.rolname = revoke_access.role_name) then
    perform runledger._sync_access(revoke_access.role_name);
  end if;
  if v_revoked is not null then
    perform runledger._record_action('revoke_access', revoke_access.role_name, null,
      jsonb_build_object('kinds', (select array_agg(r.kind) from unnest(v_revoked) as r)));
  end if;
  return query select r.* from unnest(v_revoked) as r;
end
$$;

comment on function runledger.revoke_access(text, text) is
  'Take a kind from a role, NULL: all of them; a row for each. What the role was given by hand in '
  'this schema goes with it. Needed before DROP ROLE. For the owner of the schema alone.';
