-- Counted as a claim counts: live leases, and canceled ones whose handlers may still be at work.
-- Tokens rise with each claim, so the lowest are the oldest. Jobs of other tenants are not named to
-- one that asks for its own.
create or replace function runledger._why_limit(
  job runledger._job_case, max_concurrency integer, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_job constant runledger._job_case := _why_limit.job;
  v_held bigint;
  v_holders text;
  v_hand runledger._lock_holder;
begin
  with held as materialized (
    select q.id, q.lease_token, q.run_number, q.attempt, q.organization_id, q.status, q.worker_id,
           q.lease_expires_at
      from runledger.job_queue as q
     where q.job_type = v_job.job_type and q.lease_token is not null
       and q.lease_expires_at > _why_limit.now
     limit _why_limit.max_concurrency
  )
  select (select count(*) from held as h), string_agg(format('%s, %s, since %s',
           case when v_job.tenant is null or v_job.tenant = o.organization_id then 'job ' || o.id
                else 'a job of another tenant' end,
           case when o.status = 'CANCELED'
                  then 'that was canceled, its handler perhaps at work until '
                    || runledger._when(o.lease_expires_at, _why_limit.now)
                else 'on worker ' || runledger._one_line(o.worker_id) end,
           runledger._when(a.leased_at, _why_limit.now)), '; ' order by o.lease_token)
    into v_held, v_holders
    from (select h.* from held as h order by h.lease_token limit 5) as o
    left join runledger.job_attempts as a
      on a.job_id = o.id and a.run_number = o.run_number and a.attempt = o.attempt;
  if v_held >= _why_limit.max_concurrency then
    return next row(null, 'why.type_limit',
      format('The type %s may run %s at once (max_concurrency),'
      ' and so many hold a slot: %s%s. One is free again when one of these jobs ends; the statement'
      ' adds one.', runledger._one_line(v_job.job_type),
      case when v_held = 1 then 'one job' else v_held || ' jobs' end, v_holders,
      case when v_held > 5 then format('; and %s more', v_held - 5) else '' end),
      format('select job_type, max_concurrency from runledger.define_job(%L, max_concurrency => '
        '%s);', v_job.job_type, _why_limit.max_concurrency + 1))::runledger.reason;
    return;
  end if;
  select h.* into v_hand
    from runledger._lock_holders(null, hashtext('runledger.max_concurrency'),
      hashtext(v_job.job_type), _why_limit.now) as h;
  if found then
    return next row(null, 'why.type_limit_locked',
      format('%s has claimed jobs of the type %s and was'
      ' not committed. The type has a limit, so nobody else can claim of it until that transaction'
      ' ends.', v_hand.words, runledger._one_line(v_job.job_type)), v_hand.fix)::runledger.reason;
  end if;
end
$$;

comment on function runledger._why_limit(runledger._job_case, integer, timestamptz) is
  'Whether the fleet-wide limit of its type holds a job up, and who has the slots.';
