-- J11: an unfinished job has its type. No foreign key holds that: a definition that was deleted by
-- hand leaves jobs that nobody ever claims.
create or replace function runledger._fsck_types(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  if _fsck_types.workflow_run_id is not null then
    return;
  end if;
  return query
  select 'J11', 'ERROR', 'job type ' || t.job_type, jsonb_build_object('job_type', t.job_type,
           'violations', count(*) over ()),
         format('select * from runledger.define_job(%L)', t.job_type)
    from (select w.job_type from runledger._waiting_types() as w
          union
          select q.job_type from runledger.job_queue as q where q.lease_token is not null) as t
   where not exists (select from runledger.job_definitions as d where d.job_type = t.job_type)
   order by t.job_type limit _fsck_types.max_rows;
end
$$;

comment on function runledger._fsck_types(uuid, integer) is
  'Invariant J11: types of unfinished jobs.';
