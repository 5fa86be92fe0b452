-- Tell that the handlers of prestart claims begin. Before that a claim costs no attempt when its
-- lease ends; from here on it does.
--
-- Locks:  job_queue rows by id.
-- Writes: job_queue, job_attempts, job_events; nothing for a job that was started before.
-- Raises: RL010 job.invalid_tokens.
create or replace function runledger.start_jobs(job_ids uuid[], lease_tokens bigint[])
returns setof runledger.started_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
  v_now timestamptz;
  v_caller constant text := runledger._caller();
begin
  perform runledger._check_leases(start_jobs.job_ids, start_jobs.lease_tokens);
  perform from runledger.job_queue as q
    where q.id = any (start_jobs.job_ids) order by q.id for update;
  v_now := runledger._now();
  return query
  with asked as materialized (
    select a.job_id, a.lease_token, a.nth
      from unnest(start_jobs.job_ids, start_jobs.lease_tokens)
           with ordinality as a(job_id, lease_token, nth)
  ), live as materialized (
    select a.nth, q.id, q.run_number, q.attempt
      from asked as a
     cross join lateral (
       select x.* from runledger.job_queue as x where x.id = a.job_id offset 0) as q
     where q.status = 'LEASED' and q.lease_token = a.lease_token and q.lease_expires_at > v_now
       and (q.lease_role = v_caller or runledger._acts_as(v_caller, q.lease_role))
  ), started as (
    update runledger.job_attempts as t
       set started_at = v_now
      from live as l
     where t.job_id = any (array[l.id]) and t.run_number = l.run_number and t.attempt = l.attempt
       and t.started_at is null
    returning t.job_id, t.run_number, t.attempt
  ), staged as (
    update runledger.job_queue as q
       set stage = 'running', updated_at = v_now
      from started as s
     where q.id = any (array[s.job_id])
  ), logged as (
    insert into runledger.job_events
      (job_id, run_number, attempt, event_type, stage, occurred_at)
    select s.job_id, s.run_number, s.attempt, 'STAGE_CHANGED', 'running', v_now
      from started as s
  )
  select a.job_id, case when l.id is null then 'LOST' else 'STARTED' end
    from asked as a
    full join live as l on l.nth = a.nth
   order by a.nth;
end
$$;

comment on function runledger.start_jobs(uuid[], bigint[]) is
  'Mark prestart claims as started, before their handlers begin. One row per job, in order: '
  'disposition STARTED, or LOST: do not start it.';
