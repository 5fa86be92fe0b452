-- Deny by default: nobody but the owner may see, call or read anything. Runs at the end of every
-- apply, because a function that was dropped and made anew is executable by PUBLIC again.
--
-- Rights come back by kind (producer, worker, operator, observer), which runledger.grant_access
-- will give to roles of the user's own. Never grant to PUBLIC here.
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
