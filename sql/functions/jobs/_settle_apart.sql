-- Settle one by one, each on its own: a row that cannot be settled is put off and does not keep the
-- others. At most 24 subtransactions a call: beyond 64 every reader of the server pays. What is
-- left over is still expired at the next call.
create or replace function runledger._settle_apart(
  settlements runledger._settlement[], retry_delay interval, now timestamptz)
returns runledger._settlement[]
language plpgsql volatile
as $$
declare
  v_one runledger._settlement;
  v_done runledger._settlement[] := '{}';
begin
  foreach v_one in array _settle_apart.settlements[1:12] loop
    begin
      perform runledger._settle(array[v_one], _settle_apart.now);
    exception when others then
      if left(sqlstate, 2) in ('53', '57', 'XX') then
        raise;
      end if;
      v_one.disposition := 'DEFERRED';
      v_one.code := sqlstate;
      v_one.next_run_at := null;
      begin
        update runledger.job_queue as q
           set lease_expires_at = _settle_apart.now + _settle_apart.retry_delay
         where q.id = v_one.job_id;
      exception when others then
        if left(sqlstate, 2) in ('53', '57', 'XX') then
          raise;
        end if;
      end;
    end;
    v_done := v_done || v_one;
  end loop;
  return v_done;
end
$$;

comment on function runledger._settle_apart(runledger._settlement[], interval, timestamptz) is
  'Settle up to 12 leases one by one; those that cannot be settled come back as DEFERRED.';
