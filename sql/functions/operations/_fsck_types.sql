-- J11: an unfinished job has its type. No foreign key holds that: a definition that was deleted by
-- hand leaves jobs that nobody ever claims. What is no name of a type is for J13.
create or replace function runledger._fsck_types(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  if _fsck_types.workflow_run_id is not null then
    return;
  end if;
  return query
  with recursive pending as (
    -- A probe per type, whatever the number of jobs.
    (select q.job_type from runledger.job_queue as q
      where q.status = 'PENDING' order by q.job_type limit 1)
    union all
    select (select q.job_type from runledger.job_queue as q
             where q.status = 'PENDING' and q.job_type > p.job_type order by q.job_type limit 1)
      from pending as p where p.job_type is not null
  )
  select 'J11', 'ERROR', 'job type ' || t.job_type, jsonb_build_object('job_type', t.job_type,
           'violations', count(*) over ()),
         format('select * from runledger.define_job(%L)', t.job_type)
    from (select p.job_type from pending as p where p.job_type is not null
          union
          select q.job_type from runledger.job_queue as q where q.lease_token is not null) as t
   where not exists (select from runledger.job_definitions as d where d.job_type = t.job_type)
     and runledger._is_name(t.job_type, runledger._limit('name_bytes'))
   order by t.job_type limit _fsck_types.max_rows;
end
$$;

comment on function runledger._fsck_types(uuid, integer) is
  'Invariant J11: types of unfinished jobs.';
