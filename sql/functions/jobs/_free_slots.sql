-- How many more jobs of a type may be leased over the whole fleet. Counted from the leases that
-- live, and from canceled handlers that may still be at work; a counter on its own would drift. The
-- lock makes count and claim one step; a row lock on the definition would deadlock with enqueue.
-- Whoever finds it taken skips the type this time. The count is a statement of its own, so that it
-- sees what the last holder of the lock committed.
create or replace function runledger._free_slots(
  job_type text, max_concurrency integer, now timestamptz)
returns integer
language plpgsql volatile
as $$
declare
  v_live integer;
begin
  if not pg_try_advisory_xact_lock(hashtext('runledger.max_concurrency'),
                                   hashtext(_free_slots.job_type)) then
    return 0;
  end if;
  select count(*) into v_live
    from runledger.job_queue as q
   where q.job_type = _free_slots.job_type and q.lease_token is not null
     and q.lease_expires_at > _free_slots.now;
  return greatest(_free_slots.max_concurrency - v_live, 0);
end
$$;

comment on function runledger._free_slots(text, integer, timestamptz) is
  'Free slots of a type with a fleet-wide limit; 0 while another claim is counting.';
