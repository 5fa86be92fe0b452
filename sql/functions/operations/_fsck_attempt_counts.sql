-- A3: the attempts of a run are 1 to n without holes, and n is what the job says of its present
-- run.
create or replace function runledger._fsck_attempt_counts(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  with counted as (
    select a.job_id, a.run_number, count(*) as attempts, min(a.attempt) as first_attempt,
           max(a.attempt) as last_attempt
      from runledger.job_attempts as a
     group by a.job_id, a.run_number
  )
  select 'A3', 'ERROR', 'job ' || coalesce(q.id, c.job_id), jsonb_build_object(
           'run_number', coalesce(c.run_number, q.run_number),
           'attempts', coalesce(c.attempts, 0), 'first_attempt', c.first_attempt,
           'last_attempt', c.last_attempt, 'job_attempt', q.attempt,
           'violations', count(*) over ()),
         runledger._fsck_look(coalesce(q.id, c.job_id))
    from counted as c
    full join runledger.job_queue as q on q.id = c.job_id and q.run_number = c.run_number
   where (c.attempts <> c.last_attempt or c.first_attempt <> 1
          or (q.id is not null and coalesce(c.attempts, 0) <> q.attempt))
     and (_fsck_attempt_counts.workflow_run_id is null or exists (
            select from runledger.job_queue as j
             where j.id = coalesce(q.id, c.job_id)
               and j.workflow_run_id = _fsck_attempt_counts.workflow_run_id))
   order by coalesce(q.id, c.job_id), coalesce(c.run_number, q.run_number)
   limit _fsck_attempt_counts.max_rows;
end
$$;

comment on function runledger._fsck_attempt_counts(uuid, integer) is
  'Invariant A3: attempts without holes.';
