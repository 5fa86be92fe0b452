-- Say that a worker is gone. Its leases stay; release or finish them first.
--
-- Locks:  the worker row.
-- Writes: workers.
-- Raises: nothing.
create or replace function runledger.deregister_worker(worker_id text)
returns boolean
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_caller constant text := runledger._caller();
begin
  delete from runledger.workers as w
   where w.worker_id = deregister_worker.worker_id
     and (w.role_name = v_caller or runledger._acts_as(v_caller, w.role_name));
  return found;
end
$$;

comment on function runledger.deregister_worker(text) is
  'Forget a worker. Returns whether it was registered.';
