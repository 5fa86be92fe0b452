-- J10: live leases of a type stay within its max_concurrency. A limit that was lowered below what
-- runs is no fault: leases granted before the definition last changed (or within a minute of it,
-- since the change may have been committed later than it says) prove nothing. All leases live now
-- lived when the youngest of them was granted, so that grant was wrong.
create or replace function runledger._fsck_concurrency(
  workflow_run_id uuid, max_rows integer, now timestamptz)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  if _fsck_concurrency.workflow_run_id is not null then
    return;
  end if;
  return query
  select 'J10', 'ERROR', 'job type ' || d.job_type, jsonb_build_object('job_type', d.job_type,
           'live_leases', l.live, 'max_concurrency', d.max_concurrency,
           'youngest_leased_at', l.youngest_at, 'violations', count(*) over ()),
         format('select * from runledger.running_jobs where job_type = %L', d.job_type)
    from runledger.job_definitions as d
   cross join lateral (
     select count(*) as live, max(a.leased_at) as youngest_at
       from runledger.job_queue as q
       left join runledger.job_attempts as a
         on a.job_id = q.id and a.run_number = q.run_number and a.attempt = q.attempt
      where q.job_type = d.job_type and q.lease_token is not null
        and q.lease_expires_at > _fsck_concurrency.now) as l
   where l.live > d.max_concurrency
     and (d.updated_at = d.created_at or l.youngest_at > d.updated_at + interval '1 minute')
   order by d.job_type limit _fsck_concurrency.max_rows;
end
$$;

comment on function runledger._fsck_concurrency(uuid, integer, timestamptz) is
  'Invariant J10: fleet-wide limits of job types.';
