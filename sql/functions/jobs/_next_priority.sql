-- The highest priority strictly between two bounds that has a pending job, of one type or of any.
-- One index probe: this is how a claim skips the delayed jobs of higher priority on every server
-- version (only PostgreSQL 18 skips by itself).
create or replace function runledger._next_priority(job_type text, below bigint, above bigint)
returns integer
language plpgsql stable
as $$
declare
  v_priority integer;
begin
  if _next_priority.job_type is null then
    select q.priority into v_priority
      from runledger.job_queue as q
     where q.status = 'PENDING'
       and q.priority < _next_priority.below and q.priority > _next_priority.above
     order by q.priority desc limit 1;
  else
    select q.priority into v_priority
      from runledger.job_queue as q
     where q.status = 'PENDING' and q.job_type = _next_priority.job_type
       and q.priority < _next_priority.below and q.priority > _next_priority.above
     order by q.priority desc limit 1;
  end if;
  return v_priority;
end
$$;

comment on function runledger._next_priority(text, bigint, bigint) is
  'The highest priority between the bounds with a pending job, or NULL; job_type NULL means any.';
