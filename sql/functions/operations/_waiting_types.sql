-- A few index probes per type, whatever the number of jobs: since when its first job is due. Of a
-- type with more than nine priorities the highest eight and the lowest are looked at, and at most
-- a thousand types: a queue of nothing but priorities must not make a look at it dear.
create or replace function runledger._waiting_types()
returns table (job_type text, due_at timestamptz)
language plpgsql stable
as $$
declare
  v_below bigint;
  v_priority integer;
  v_at timestamptz;
begin
  job_type := '';
  for v_type in 1..1000 loop
    select q.job_type into job_type
      from runledger.job_queue as q
     where q.status = 'PENDING' and q.job_type > _waiting_types.job_type
     order by q.job_type limit 1;
    exit when job_type is null;
    due_at := null;
    v_below := 2147483648;
    for v_lane in 1..9 loop
      if v_lane = 9 then
        select q.priority + 1 into v_below
          from runledger.job_queue as q
         where q.status = 'PENDING' and q.job_type = _waiting_types.job_type
           and q.priority < v_below
         order by q.priority limit 1;
      end if;
      -- The first of the next lane: its priority and when it is due, in one probe.
      select q.priority, q.next_run_at into v_priority, v_at
        from runledger.job_queue as q
       where q.status = 'PENDING' and q.job_type = _waiting_types.job_type
         and q.priority < v_below
       order by q.priority desc, q.next_run_at, q.id limit 1;
      exit when not found;
      due_at := least(due_at, v_at);
      v_below := v_priority;
    end loop;
    return next;
  end loop;
end
$$;

comment on function runledger._waiting_types() is
  'The types with pending jobs, and when the first job of each became or becomes due.';
