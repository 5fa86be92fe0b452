-- Two index probes per lane (type and priority), whatever the number of jobs.
create or replace function runledger._next_due_at(job_types text[])
returns timestamptz
language plpgsql stable
as $$
declare
  v_type text;
  v_priority integer;
  v_at timestamptz;
  v_next timestamptz;
begin
  for v_type in
    select d.job_type
      from runledger.job_definitions as d
     where d.job_type = any (_next_due_at.job_types) and not d.is_paused
  loop
    v_priority := runledger._next_priority(v_type, 2147483648, -2147483649);
    while v_priority is not null loop
      select q.next_run_at into v_at
        from runledger.job_queue as q
       where q.status = 'PENDING' and q.job_type = v_type and q.priority = v_priority
       order by q.next_run_at, q.id limit 1;
      v_next := least(v_next, v_at);
      v_priority := runledger._next_priority(v_type, v_priority, -2147483649);
    end loop;
  end loop;
  return v_next;
end
$$;

comment on function runledger._next_due_at(text[]) is
  'When the next pending job of these types becomes due; paused types do not count.';
