-- A superuser and the owner may do everything anyway: a grant to them, or to a member of the owner,
-- would only look as if it were a limit.
create or replace function runledger._check_grant(role_name text, kind text, job_types text[])
returns void
language plpgsql stable
as $$
declare
  v_is_super boolean;
begin
  if _check_grant.kind is null
    or _check_grant.kind not in ('producer', 'worker', 'operator', 'observer') then
    perform runledger._raise('access.invalid_kind');
  end if;
  if _check_grant.job_types is not null and (
    _check_grant.kind not in ('producer', 'worker') or array_ndims(_check_grant.job_types) > 1
    or cardinality(_check_grant.job_types) not between 1 and runledger._limit('worker_types')
    or exists (select from unnest(_check_grant.job_types) as t(job_type)
                where not runledger._is_name(t.job_type, runledger._limit('name_bytes')))) then
    perform runledger._raise('access.invalid_job_types',
      jsonb_build_object('max_types', runledger._limit('worker_types')));
  end if;
  if lower(_check_grant.role_name) = 'public' then
    perform runledger._raise('access.role_refused', jsonb_build_object('role', 'public'));
  end if;
  select r.rolsuper or pg_has_role(r.oid, current_user, 'MEMBER') into v_is_super
    from pg_roles as r where r.rolname = _check_grant.role_name;
  if v_is_super is null then
    perform runledger._raise('access.role_not_found',
      jsonb_build_object('role', left(_check_grant.role_name, 63)));
  elsif v_is_super then
    perform runledger._raise('access.role_refused',
      jsonb_build_object('role', _check_grant.role_name));
  end if;
end
$$;

comment on function runledger._check_grant(text, text, text[]) is
  'Raise unless this can be granted to this role.';
