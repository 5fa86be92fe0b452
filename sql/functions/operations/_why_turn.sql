-- The last question: have its workers a free slot, and what do they take first. is_explained:
-- something else holds the job up already; then that it is ready is no answer. Jobs of other types
-- that are paused, or whose limit is reached, are not taken before it.
create or replace function runledger._why_turn(
  job runledger._job_case, handlers runledger._handler[], is_explained boolean,
  ready_at timestamptz, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_job constant runledger._job_case := _why_turn.job;
  v_fleet record;
  v_ahead bigint[];
  v_is_late constant boolean := _why_turn.ready_at < _why_turn.now - interval '1 minute';
begin
  with live as materialized (
    select h.job_types, h.max_jobs, h.busy
      from unnest(_why_turn.handlers) as h
     where h.is_registered and h.is_live
  )
  select count(*) as workers, coalesce(sum(l.max_jobs), 0) as slots,
         coalesce(sum(l.max_jobs - l.busy), 0) as free,
         array(select d.job_type from runledger.job_definitions as d
                where not d.is_paused and (d.job_type = v_job.job_type or d.job_type in (
                  select unnest(o.job_types) from live as o)
                  and (d.max_concurrency is null or d.max_concurrency > (select count(*) from (
                    select from runledger.job_queue as q
                     where q.job_type = d.job_type and q.lease_token is not null
                       and q.lease_expires_at > _why_turn.now limit d.max_concurrency) as n)))
                order by (d.job_type = v_job.job_type) desc, d.job_type limit 50) as job_types
    into v_fleet
    from live as l;
  if v_fleet.workers > 0 and v_fleet.free <= 0 then
    return next row(null, 'why.workers_busy',
      format('No slot is free: the type %s has %s on %s, all taken (see the view running_jobs). It'
      ' is claimed when one of the jobs in hand ends, or when another worker starts.',
      runledger._one_line(v_job.job_type), runledger._counted(v_fleet.slots, 'slot'),
      runledger._counted(v_fleet.workers, 'worker')), null)::runledger.reason;
  end if;
  v_ahead := runledger._jobs_ahead(v_fleet.job_types, v_job, _why_turn.now);
  if v_ahead[1] + v_ahead[2] > 0 then
    return next row(null, 'why.behind', format('Before it: %s, all of types its workers handle. Its'
      ' turn comes when these are claimed.',
      case when v_ahead[1] + v_ahead[2] > 1000
           then format('more than 1000 ready jobs, of higher priority or of its own (%s) and due'
             ' longer', v_job.priority)
           else format('%s of higher priority, %s of its own priority (%s) and due longer',
             runledger._counted(v_ahead[1], 'ready job'), v_ahead[2], v_job.priority) end),
      null)::runledger.reason;
  elsif v_fleet.free > 0 and not _why_turn.is_explained then
    return next row(null, case when v_is_late then 'why.not_picked_up' else 'why.ready' end,
      format('It comes next and may be claimed since %s. %s for it, with %s of %s slots free; %s',
        runledger._when(_why_turn.ready_at, _why_turn.now),
        case when v_fleet.workers = 1 then 'One live worker is registered'
             else v_fleet.workers || ' live workers are registered' end,
        v_fleet.free, v_fleet.slots,
        case when v_is_late then 'unless its turn has only just come, they do not claim: look'
          ' again in a moment, then look at them, or start them anew. The statement takes the job'
          ' by hand.'
          else 'the next poll takes it, within seconds.' end),
      case when v_is_late then runledger._by_hand(v_job.job_type) end)::runledger.reason;
  end if;
end
$$;

comment on function runledger._why_turn(
  runledger._job_case, runledger._handler[], boolean, timestamptz, timestamptz) is
  'Whether its workers have a free slot for a due job, what comes before it, or that it is ready.';
