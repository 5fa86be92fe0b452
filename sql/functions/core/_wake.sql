-- Wake idle workers, and only them: NOTIFY takes a lock at commit that is shared by the whole
-- database, so a busy system must not pay it. A full notification queue fails the commit of every
-- notifier and does not drain until somebody asks for its usage: so ask, and rather be silent; an
-- enqueue never fails because of a wake-up. Polling is what makes the work run.
create or replace function runledger._wake(job_types text[], now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_type text;
begin
  if not exists (select from runledger.workers as w where w.idle_until > _wake.now) then
    return;
  end if;
  for v_type in
    select distinct t.job_type
      from unnest(_wake.job_types) as t(job_type)
     where exists (select from runledger.workers as w
                    where w.idle_until > _wake.now and t.job_type = any (w.job_types))
  loop
    if pg_notification_queue_usage() < 0.5 then
      perform pg_notify('runledger_wake', runledger._wake_key(v_type));
    end if;
  end loop;
end
$$;

comment on function runledger._wake(text[], timestamptz) is
  'Notify on runledger_wake, once per type that an idle worker handles.';
