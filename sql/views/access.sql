create or replace view runledger.access with (security_barrier) as
  select g.role_name as role, g.kind,
         coalesce(array_to_string(g.job_types, ', '), 'any') as job_types, g.granted_by,
         g.granted_at
    from runledger.access_grants as g
   order by g.role_name, g.kind;

comment on view runledger.access is 'Who may do what: grant_access, revoke_access.';
comment on column runledger.access.role is 'The role; its members may do the same.';
comment on column runledger.access.kind is 'producer, worker, operator or observer.';
comment on column runledger.access.job_types is
  'What it may enqueue or claim; any: every type.';
comment on column runledger.access.granted_by is 'Who granted it.';
comment on column runledger.access.granted_at is 'When it was granted or last changed.';
