-- The highest priority strictly between two bounds that has a pending job, of one type or of any.
-- One index probe: this is how a claim skips the delayed jobs of higher priority on every server
-- version (only PostgreSQL 18 skips by itself). With an instant, jobs that are due later are looked
-- for; entries before it are told by the index alone, no row is visited.
create or replace function runledger._next_priority(
  job_type text, below bigint, above bigint, after timestamptz)
returns integer
language plpgsql stable
as $$
declare
  v_priority integer;
begin
  if _next_priority.job_type is null then
    select q.priority into v_priority
      from runledger.job_queue as q
     where q.status = 'PENDING' and q.attempt >= 0
       and q.priority < _next_priority.below and q.priority > _next_priority.above
       and q.next_run_at > _next_priority.after
     order by q.priority desc limit 1;
  else
    select q.priority into v_priority
      from runledger.job_queue as q
     where q.status = 'PENDING' and q.job_type = _next_priority.job_type
       and q.priority < _next_priority.below and q.priority > _next_priority.above
       and q.next_run_at > _next_priority.after
     order by q.priority desc limit 1;
  end if;
  return v_priority;
end
$$;

comment on function runledger._next_priority(text, bigint, bigint, timestamptz) is
  'The highest priority between the bounds with a pending job, or NULL; job_type NULL means any.';
