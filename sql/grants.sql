-- Deny by default: nobody but the owner may see, call or read anything. Runs at the end of every
-- apply, because a function that was dropped and made anew is executable by PUBLIC again.
--
-- Rights come back by kind (producer, worker, operator, observer) for the roles that
-- runledger.grant_access gave one. Never grant to PUBLIC here.
revoke all on schema runledger from public;
revoke all on all tables in schema runledger from public;
revoke all on all sequences in schema runledger from public;
revoke all on all routines in schema runledger from public;

-- There is no "all types in schema".
do $$
declare
  v_type regtype;
begin
  for v_type in
    select t.oid::regtype from pg_type t
    where t.typnamespace = 'runledger'::regnamespace and t.typelem = 0
      and t.typtype in ('c', 'd', 'e')
    order by t.typname
  loop
    execute format('revoke all on type %s from public', v_type);
  end loop;
end
$$;

-- What operators did stays: not even our own functions, which run as the owner, can change it.
do $$
begin
  execute format('revoke update, delete, truncate on runledger.operator_actions from %I',
    current_user);
end
$$;

-- Who owns the schema may do everything by that. What a role was granted before it became the owner
-- would take from it, as from any other, all that its kind does not need.
delete from runledger.access_grants as g where g.role_name = current_user;

-- Functions and views that were made anew have lost what was granted on them. A role that is gone
-- keeps its row and gets nothing.
do $$
declare
  v_role text;
begin
  for v_role in
    select distinct g.role_name
      from runledger.access_grants as g
      join pg_roles as r on r.rolname = g.role_name
     order by g.role_name
  loop
    perform runledger._sync_access(v_role);
  end loop;
end
$$;
