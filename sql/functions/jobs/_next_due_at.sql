-- Two index probes per lane (type and priority), whatever the number of jobs. What the claims of
-- this session walked over to the end, under a snapshot that somebody holds, is not walked over
-- again.
create or replace function runledger._next_due_at(job_types text[], now timestamptz)
returns timestamptz
language plpgsql stable
as $$
declare
  v_open text[];
  v_types text[];
  v_type text;
  v_mark runledger._mark;
  v_after timestamptz;
  v_below bigint;
  v_priority integer;
  v_nth integer;
  v_at timestamptz;
  v_next timestamptz;
begin
  select array_agg(d.job_type order by d.job_type) filter (where d.max_concurrency is null),
         array_agg(d.job_type order by d.job_type)
    into v_open, v_types
    from runledger.job_definitions as d
   where d.job_type = any (_next_due_at.job_types) and not d.is_paused;
  v_mark := runledger._load_mark(runledger._claim_scope(v_open), _next_due_at.now);
  foreach v_type in array coalesce(v_types, '{}') loop
    v_after := case when v_type = any (v_open) then v_mark.swept_at end;
    v_after := coalesce(v_after, '-infinity');
    v_below := 2147483648;
    v_nth := case when v_after > '-infinity' then 1 else 0 end;
    loop
      v_priority := runledger._next_walked(null, v_type, false, v_below,
        v_mark.priorities[v_nth], v_after);
      exit when v_priority is null;
      select q.next_run_at into v_at
        from runledger.job_queue as q
       where q.status = 'PENDING' and q.job_type = v_type and q.priority = v_priority
         and q.next_run_at > v_after
       order by q.next_run_at, q.id limit 1;
      v_next := least(v_next, v_at);
      v_nth := v_nth + (v_priority is not distinct from v_mark.priorities[v_nth])::integer;
      v_below := v_priority;
    end loop;
  end loop;
  return v_next;
end
$$;

comment on function runledger._next_due_at(text[], timestamptz) is
  'When the next pending job of these types becomes due; paused types do not count.';
