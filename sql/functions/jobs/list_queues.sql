-- How each job type stands. Bounded whatever the queue holds: at most 100,000 pending jobs are
-- counted a page, as many of each type as counted_to says; 5,000 dead letters, the latest, are
-- looked at; ends of attempts come from the totals that run_maintenance keeps, and from at most
-- 20,000 events that it has not counted yet: without any upkeep they are not told (NULL).
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination.
create or replace function runledger.list_queues(
  contains text default null, after_type text default null, max_rows integer default 100)
returns setof runledger.queue_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := runledger._now();
  v_types text[];
  v_cap integer;
  v_is_told boolean;
begin
  perform runledger._check_count(list_queues.max_rows, 'max_rows', 'job.invalid_pagination');
  v_types := array(
    select d.job_type from runledger.job_definitions as d
     where d.job_type > coalesce(list_queues.after_type, '')
       and (list_queues.contains is null or runledger._contains(d.job_type, list_queues.contains))
     order by d.job_type limit list_queues.max_rows);
  v_cap := least(10000, 100000 / greatest(cardinality(v_types), 1));
  return query
  with served as materialized (
    select h.job_type, count(*)::integer as workers
      from runledger.workers as w
     cross join lateral unnest(w.job_types) as h(job_type)
     where w.last_seen_at > v_now - interval '3 minutes'
     group by h.job_type
  ), held as materialized (
    select q.job_type, count(*) as n, count(*) filter (where q.lease_expires_at <= v_now) as lost
      from runledger.job_queue as q
     where q.lease_token is not null
     group by q.job_type
  ), dead as materialized (
    select l.job_type, count(*) as n
      from (select d.job_id, d.job_type, d.run_number from runledger.job_dead_letters as d
             order by d.failed_at desc, d.job_id desc limit 5000) as l
     cross join lateral (
       select from runledger.job_queue as q
        where q.id = l.job_id and q.run_number = l.run_number and q.status = 'DEAD_LETTERED'
        limit 1) as j
     group by l.job_type
  ), ended as materialized (
    select e.job_type, sum(e.finished)::bigint as finished, sum(e.failed)::bigint as failed
      from runledger._ended_attempts() as e
     group by e.job_type
  )
  select d.job_type, d.is_enabled, d.disabled_reason, d.is_paused, d.paused_reason,
         d.max_concurrency, coalesce(s.workers, 0), p.ready, p.n - p.ready, v_cap,
         case when w.due_at <= v_now then w.due_at end, coalesce(h.n, 0), coalesce(h.lost, 0),
         coalesce(x.n, 0), case when z.is_told then coalesce(e.finished, 0) end,
         case when z.is_told then coalesce(e.failed, 0) end
    from unnest(v_types) as t(job_type)
    join runledger.job_definitions as d on d.job_type = t.job_type
   cross join lateral (
     select count(*) as n, count(*) filter (where o.next_run_at <= v_now) as ready
       from (select q.next_run_at from runledger.job_queue as q
              where q.status = 'PENDING' and q.job_type = d.job_type
              order by q.priority desc, q.next_run_at, q.id limit v_cap) as o) as p
   cross join (select not exists (select from ended as n where n.job_type is null) as is_told) as z
    left join runledger._waiting_types() as w on w.job_type = d.job_type
    left join served as s on s.job_type = d.job_type
    left join held as h on h.job_type = d.job_type
    left join dead as x on x.job_type = d.job_type
    left join ended as e on e.job_type = d.job_type
   order by d.job_type;
end
$$;

comment on function runledger.list_queues(text, text, integer) is
  'How each job type stands, by name: pending jobs (of each type no more than counted_to are '
  'counted), the longest wait, running jobs, dead letters that are still dead (among the latest '
  '5000), and how many jobs ended and attempts failed since the beginning: the difference of two '
  'looks is a rate. contains: types with these letters in their name. For the next page give the '
  'last job_type as after_type. At most 1000 rows a page.';
