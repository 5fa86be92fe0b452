-- Ready jobs that a worker of these types claims before one of this place. At most 1001 are counted
-- and at most 100 lanes (a type and a priority) looked at, a few index entries each; delayed jobs
-- are never walked over.
create or replace function runledger._jobs_ahead(
  job_types text[], job runledger._job_case, now timestamptz)
returns bigint[]
language plpgsql stable
as $$
declare
  v_mine constant integer := (_jobs_ahead.job).priority;
  v_due_at constant timestamptz := (_jobs_ahead.job).next_run_at;
  v_id constant uuid := (_jobs_ahead.job).id;
  v_last constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
begin
  return (
    with recursive lanes as (
      select t.job_type, runledger._next_priority(t.job_type, 2147483648,
               v_mine::bigint - 1, '-infinity') as level
        from unnest(_jobs_ahead.job_types) as t(job_type)
      union all
      select l.job_type, runledger._next_priority(l.job_type, l.level, v_mine::bigint - 1,
               '-infinity')
        from lanes as l
       where l.level is not null
    )
    select array[count(*) filter (where a.level > v_mine),
                 count(*) filter (where a.level = v_mine)]
      from (
        select o.level
          from (select l.job_type, l.level from lanes as l
                 where l.level is not null limit 100) as o
         cross join lateral (
           select from runledger.job_queue as q
            where q.status = 'PENDING' and q.job_type = o.job_type and q.priority = o.level
              and (q.next_run_at, q.id)
                  < (case when o.level > v_mine then _jobs_ahead.now else v_due_at end,
                     case when o.level > v_mine then v_last else v_id end)
            limit 1001) as r
         limit 1001) as a);
end
$$;

comment on function runledger._jobs_ahead(text[], runledger._job_case, timestamptz) is
  'How many ready jobs of these types come before a job: of higher priority, and due longer.';
