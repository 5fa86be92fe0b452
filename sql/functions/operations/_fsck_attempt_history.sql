-- A5, A8: the attempts of a job, one after the other. Both prove mutual exclusion from what was
-- written; history cannot be repaired.
create or replace function runledger._fsck_attempt_history(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  with history as materialized (
    select a.job_id, a.run_number, a.attempt, a.lease_token, a.leased_at,
           lag(a.finished_at) over w as previous_finished_at,
           lag(a.lease_token) over w as previous_token,
           row_number() over w as nth
      from runledger.job_attempts as a
     where _fsck_attempt_history.workflow_run_id is null or exists (
             select from runledger.job_queue as q
              where q.id = a.job_id
                and q.workflow_run_id = _fsck_attempt_history.workflow_run_id)
    window w as (partition by a.job_id order by a.run_number, a.attempt)
  ), wrong as (
    -- A5: an attempt begins when the one before it has ended.
    select 'A5' as id, h.job_id, h.run_number, h.attempt, jsonb_build_object(
             'leased_at', h.leased_at, 'previous_finished_at', h.previous_finished_at) as facts
      from history as h
     where h.nth > 1 and coalesce(h.leased_at < h.previous_finished_at, true)
    union all
    -- A8: tokens rise from one attempt to the next.
    select 'A8', h.job_id, h.run_number, h.attempt, jsonb_build_object(
             'lease_token', h.lease_token, 'previous_token', h.previous_token)
      from history as h
     where h.lease_token <= h.previous_token
  ), counted as (
    select w.*, count(*) over (partition by w.id) as violations,
           row_number() over (partition by w.id order by w.job_id, w.run_number, w.attempt) as nth
      from wrong as w
  )
  select c.id, 'ERROR', 'job ' || c.job_id, c.facts || jsonb_build_object(
           'run_number', c.run_number, 'attempt', c.attempt, 'violations', c.violations),
         runledger._fsck_look(c.job_id)
    from counted as c
   where c.nth <= _fsck_attempt_history.max_rows
   order by c.id, c.nth;
end
$$;

comment on function runledger._fsck_attempt_history(uuid, integer) is
  'Invariants A5 and A8: attempts follow one another.';
