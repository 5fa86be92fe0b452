-- Give a role of yours a kind: what that kind may do stands in sql/README.md. Rights follow
-- membership, so a kind is best given to a group role.
--
-- Locks:  access_grants, against other grants; the catalog rows of what is granted.
-- Writes: access_grants, operator_actions; privileges on schema, functions and views.
-- Raises: RL001 access.role_not_found, RL010 access.invalid_kind, access.invalid_job_types,
--         access.role_refused.
create or replace function runledger.grant_access(
  role_name text, kind text, job_types text[] default null)
returns runledger.access_grant
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_types text[];
  v_old runledger.access_grants;
  v_done text := 'GRANTED';
begin
  perform runledger._check_grant(
    grant_access.role_name, grant_access.kind, grant_access.job_types);
  if grant_access.job_types is not null then
    v_types := array(
      select distinct t.job_type from unnest(grant_access.job_types) as t(job_type) order by 1);
  end if;
  lock table runledger.access_grants in share row exclusive mode;
  select g.* into v_old
    from runledger.access_grants as g
   where g.role_name = grant_access.role_name and g.kind = grant_access.kind;
  if v_old.role_name is not null then
    v_done := case when v_old.job_types is not distinct from v_types then 'UNCHANGED'
                   else 'CHANGED' end;
  end if;
  insert into runledger.access_grants as g (role_name, kind, job_types, granted_by, granted_at)
  values (grant_access.role_name, grant_access.kind, v_types, runledger._caller(),
          runledger._now())
  on conflict on constraint access_grants_pkey do update
     set job_types = excluded.job_types, granted_by = excluded.granted_by,
         granted_at = excluded.granted_at
   where g.job_types is distinct from excluded.job_types;
  perform runledger._sync_access(grant_access.role_name);
  if v_done <> 'UNCHANGED' then
    perform runledger._record_action('grant_access', grant_access.role_name, null,
      jsonb_build_object('kind', grant_access.kind, 'job_types', v_types));
  end if;
  return row(grant_access.role_name, grant_access.kind, v_types, v_done)::runledger.access_grant;
end
$$;

comment on function runledger.grant_access(text, text, text[]) is
  'Give a role a kind: producer, worker, operator or observer; a role may have several. job_types '
  'holds a producer to what it may enqueue and a worker to what it may claim; NULL: any. Again '
  'with other job_types replaces them. disposition GRANTED, CHANGED or UNCHANGED. For the owner '
  'of the schema alone.';
