-- Why a job is not running, or what it is doing: the reason to mend first in front. Every reason
-- has a stable code (view why_codes) and, if anything can be done, the statement that does it.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 job.not_found (also for another tenant).
--
-- The cost is bounded: a constant number of statements, and no more than 1001 of anything counted.
create or replace function runledger.why(job_id uuid, organization_id uuid default null)
returns setof runledger.reason
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_job runledger._job_case;
begin
  if exists (
    select from runledger.job_queue as q
     where q.id = why.job_id
       and (why.organization_id is null or q.organization_id = why.organization_id)) then
    select c.* into v_job from runledger._job_case(why.job_id, why.organization_id) as c;
  else
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', why.job_id));
  end if;
  return query
  select w.place::integer, w.code, w.explanation, w.fix
    from runledger._why_job(v_job, v_now) with ordinality as w(rank, code, explanation, fix, place)
   order by w.place;
end
$$;

comment on function runledger.why(uuid, uuid) is
  'Why a job is not running, or what it is doing: every reason, ranked, each with a stable code '
  '(view why_codes), words, and the statement that mends it. No fix: waiting is right, and the '
  'words say until when, or nothing is left to do.';
