-- A pass goes on where the last call left off. It begins anew when it is over, when other ages are
-- asked for, or when nobody went on with it for an hour. After a pass maintenance rests for a
-- minute: old jobs that are not finished would else be looked at all the time.
create or replace function runledger._start_pass(
  caller text, older_than interval, dead_letters_older_than interval, history_older_than interval,
  reason text, now timestamptz)
returns boolean
language plpgsql volatile
as $$
declare
  v_pass runledger.prune_passes;
  v_new boolean;
begin
  insert into runledger.prune_passes
    (caller, older_than, dead_letters_older_than, history_older_than, started_at, touched_at,
     ended_at)
  values (_start_pass.caller, _start_pass.older_than, _start_pass.dead_letters_older_than,
    _start_pass.history_older_than, _start_pass.now, _start_pass.now,
    _start_pass.now - interval '1 day')
  on conflict do nothing;
  select p.* into strict v_pass
    from runledger.prune_passes as p where p.caller = _start_pass.caller;
  v_new := v_pass.ended_at is not null
    or (v_pass.older_than, v_pass.dead_letters_older_than, v_pass.history_older_than)
       <> (_start_pass.older_than, _start_pass.dead_letters_older_than,
           _start_pass.history_older_than)
    or not v_pass.touched_at between _start_pass.now - interval '1 hour' and _start_pass.now;
  if _start_pass.caller = 'MAINTENANCE'
    and v_pass.ended_at between _start_pass.now - interval '1 minute' and _start_pass.now then
    return false;
  elsif v_new and _start_pass.caller = 'CALL' then
    perform runledger._record_action('prune', null, _start_pass.reason, jsonb_build_object(
      'older_than', _start_pass.older_than,
      'dead_letters_older_than', _start_pass.dead_letters_older_than));
  end if;
  update runledger.prune_passes as p
     set older_than = _start_pass.older_than,
         dead_letters_older_than = _start_pass.dead_letters_older_than,
         history_older_than = _start_pass.history_older_than,
         touched_at = _start_pass.now, ended_at = null,
         started_at = case when v_new then _start_pass.now else p.started_at end,
         after_run_id = case when v_new then '00000000-0000-0000-0000-000000000000'
                             else p.after_run_id end,
         after_job_id = case when v_new then '00000000-0000-0000-0000-000000000000'
                             else p.after_job_id end,
         after_event_block = case when v_new then 0 else p.after_event_block end,
         after_log_block = case when v_new then 0 else p.after_log_block end
   where p.caller = _start_pass.caller;
  return true;
end
$$;

comment on function runledger._start_pass(text, interval, interval, interval, text, timestamptz) is
  'Begin a pass of prune or go on with it; false if maintenance rests.';
