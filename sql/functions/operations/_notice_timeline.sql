-- After an asynchronous fail-over sequences go back and lease tokens would be issued twice: whoever
-- uses them as fencing tokens outside would refuse the rightful worker. A new timeline tells of it.
create or replace function runledger._notice_timeline(now timestamptz)
returns bigint
language plpgsql volatile
as $$
declare
  v_timeline constant text := left(pg_walfile_name(pg_current_wal_insert_lsn()), 8);
  v_known text;
begin
  insert into runledger.upkeep_state (timeline, timeline_since)
  values (v_timeline, _notice_timeline.now)
  on conflict do nothing;
  select u.timeline into strict v_known from runledger.upkeep_state as u for no key update;
  if v_known = v_timeline then
    return 0;
  end if;
  perform setval('runledger.lease_token_seq',
    (select s.last_value + 4294967296 from runledger.lease_token_seq as s));
  update runledger.upkeep_state as u
     set timeline = v_timeline, timeline_since = _notice_timeline.now,
         tokens_lifted = u.tokens_lifted + 1;
  return 1;
end
$$;

comment on function runledger._notice_timeline(timestamptz) is
  'Lift the token sequence by 2^32 when the WAL timeline changed; returns 1 if it did.';
