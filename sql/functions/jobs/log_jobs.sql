-- Write many log lines at once, each judged alone and kept in the order given. A line with a lease
-- token must come from the worker that holds that lease, one without from a role that may work on
-- jobs of that type.
--
-- Locks:  none; a line that crosses the end of its lease does no harm.
-- Writes: job_logs.
-- Raises: RL010 job.invalid_batch. What is wrong with one line stands in its row.
create or replace function runledger.log_jobs(entries jsonb)
returns setof runledger.logged_line
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_caller constant text := runledger._caller();
  v_granted constant text[] := runledger._granted_types('{worker}');
begin
  perform runledger._check_batch(log_jobs.entries);
  return query
  with judged as materialized (
    select e.ordinal, e.job_id, q.run_number, q.attempt, e.level, e.message, e.payload,
           case when e.code is not null then e.code
                when q.id is null or (e.lease_token is null and not q.job_type = any (v_granted))
                  then 'job.not_found'
                when e.lease_token is not null and (q.status <> 'LEASED'
                  or q.lease_token <> e.lease_token or q.lease_expires_at <= v_now
                  or not coalesce(q.lease_role = v_caller
                    or runledger._acts_as(v_caller, q.lease_role), false))
                  then 'job.lease_owner_mismatch' end as code,
           e.code is not null as is_invalid
      from jsonb_array_elements(log_jobs.entries) with ordinality as i(item, nth)
     cross join lateral runledger._decode_log(i.item, i.nth::integer) as e
      left join lateral (
        select x.* from runledger.job_queue as x where x.id = e.job_id offset 0) as q on true
     order by e.ordinal
  ), numbered as materialized (
    -- Numbered here and not by the table, so that each row of the result knows its line.
    select j.ordinal, j.job_id, j.run_number, j.attempt, j.level, j.message, j.payload, j.code,
           j.is_invalid,
           case when j.code is null then nextval('runledger.job_logs_id_seq') end as log_id
      from judged as j
  ), stored as (
    insert into runledger.job_logs as l
      (id, job_id, run_number, attempt, level, message, payload, occurred_at)
    overriding system value
    select n.log_id, n.job_id, n.run_number, n.attempt, n.level, n.message, n.payload, v_now
      from numbered as n
     where n.code is null
  )
  select n.ordinal, n.job_id, n.log_id,
         case when n.code is null then 'STORED' when n.is_invalid then 'INVALID' else 'LOST' end,
         n.code
    from numbered as n
   order by n.ordinal;
end
$$;

comment on function runledger.log_jobs(jsonb) is
  'Write log lines: an array of at most 10000 objects {"job_id", "level", "message", "payload", '
  '"lease_token"}, the last two optional. One row per line: STORED with its log_id, LOST (no such '
  'job, or not its lease) or INVALID, and why in code.';
