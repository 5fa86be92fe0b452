-- Ask to be woken until an instant: LISTEN runledger_wake, call this, claim once more (a job may
-- have come between the last claim and this call), then wait. NULL or the past: do not wake me, I
-- am busy.
--
-- Locks:  the worker row.
-- Writes: workers.
-- Raises: RL001 worker.not_found, RL010 worker.invalid_idle_time.
create or replace function runledger.idle_worker(
  worker_id text, until timestamptz default null)
returns runledger.idle_report
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_caller constant text := runledger._caller();
  v_types text[];
begin
  if idle_worker.until > v_now + make_interval(secs => runledger._limit('idle_seconds')) then
    perform runledger._raise('worker.invalid_idle_time',
      jsonb_build_object('max_seconds', runledger._limit('idle_seconds')));
  end if;
  update runledger.workers as w
     set idle_until = case when idle_worker.until > v_now then idle_worker.until end,
         last_seen_at = v_now
   where w.worker_id = idle_worker.worker_id
     and (w.role_name = v_caller or runledger._acts_as(v_caller, w.role_name))
  returning w.job_types into v_types;
  if not found then
    perform runledger._raise('worker.not_found');
  end if;
  return row(idle_worker.worker_id, case when idle_worker.until > v_now
    then runledger._next_due_at(v_types, v_now) end)::runledger.idle_report;
end
$$;

comment on function runledger.idle_worker(text, timestamptz) is
  'Ask for a notification on runledger_wake when a job of the types of this worker becomes '
  'available, until that instant (at most an hour ahead); NULL: no more. Returns when the next '
  'job that waits now becomes due.';
