-- Where the sequence of events stands, read before this transaction draws its own id. The order is
-- the point: a transaction writes events only about jobs that it has inserted or locked, so it has
-- its transaction id before its first event id. Whoever drew an event id up to this one therefore
-- has a smaller transaction id than ours, and once every smaller one has ended, no event up to this
-- one can still appear. The xmax of a snapshot would not do: transactions above it may be at work.
create or replace function runledger._event_mark()
returns bigint
language plpgsql volatile
as $$
declare
  v_last bigint;
begin
  if pg_current_xact_id_if_assigned() is not null then
    return null;
  end if;
  select case when s.is_called then s.last_value else 0 end into v_last
    from runledger.job_events_id_seq as s;
  perform pg_current_xact_id();
  return v_last;
end
$$;

comment on function runledger._event_mark() is
  'The last event id drawn before this transaction got its id; NULL if it has written already.';
