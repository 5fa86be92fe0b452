-- What people call the state of a job, for every list, page and view alike. A view runs its
-- functions as whoever reads it, so the readers of `jobs` may call this.
create or replace function runledger._job_state(
  status runledger.job_status, lease_expires_at timestamptz, next_run_at timestamptz,
  attempt integer, at timestamptz)
returns text
language sql immutable parallel safe
as $$
  select case _job_state.status
           when 'SUCCEEDED' then 'done'
           when 'DEAD_LETTERED' then 'dead'
           when 'LEASED' then
             case when _job_state.lease_expires_at <= _job_state.at then 'lost' else 'running' end
           when 'CANCELED' then
             case when _job_state.lease_expires_at > _job_state.at then 'stopping'
                  else 'canceled' end
           when 'PENDING' then
             case when _job_state.next_run_at <= _job_state.at then 'ready'
                  when _job_state.attempt > 0 then 'retrying' else 'delayed' end
         end
$$;

comment on function runledger._job_state(
  runledger.job_status, timestamptz, timestamptz, integer, timestamptz) is
  'The state of such a job at that instant, in the words of the view jobs.';
