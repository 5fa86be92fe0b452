-- Count events that can no longer change in job_metrics_slots and job_metrics_totals: each exactly
-- once, whatever commits late. mark is what _event_mark said in this transaction. An event that
-- comes late waits for the transaction that wrote it; so do all that were written after it.
create or replace function runledger._roll_up(mark bigint, max_events integer, now timestamptz)
returns table (affected bigint, more boolean)
language plpgsql volatile
as $$
declare
  v_state runledger.upkeep_state;
  v_xmin xid8;
  v_from bigint;
  v_safe bigint;
begin
  select u.* into strict v_state from runledger.upkeep_state as u for no key update;
  v_from := v_state.rolled_up_to;
  v_xmin := pg_snapshot_xmin(pg_current_snapshot());
  -- A mark is kept until it is used up, or a snapshot held open would have it run away; one of the
  -- future came with a logical restore, where transaction ids begin anew and event ids go on.
  if _roll_up.mark is not null and (v_state.mark_id is null or v_state.mark_id <= v_from
    or v_state.mark_xid >= pg_snapshot_xmax(pg_current_snapshot())
    or v_xmin >= pg_current_xact_id()) then
    v_state.mark_id := _roll_up.mark;
    v_state.mark_xid := pg_current_xact_id();
  end if;
  v_safe := case when v_state.mark_xid <= v_xmin then v_state.mark_id else v_from end;
  v_state.rolled_up_to := greatest(v_from, least(v_safe, v_from + _roll_up.max_events));
  affected := runledger._count_events(v_from, v_state.rolled_up_to);
  more := v_state.rolled_up_to < v_safe;
  if v_state.mark_id > v_from then
    update runledger.upkeep_state as u
       set rolled_up_to = v_state.rolled_up_to, mark_id = v_state.mark_id,
           mark_xid = v_state.mark_xid;
    perform runledger._summarize_events(v_from, v_state.rolled_up_to);
  end if;
  with old as materialized (
    select s.ctid as place from runledger.job_metrics_slots as s
     where s.slot_at < _roll_up.now - interval '8 days' limit 10000
  )
  delete from runledger.job_metrics_slots as s using old as o where s.ctid = o.place;
  return next;
end
$$;

comment on function runledger._roll_up(bigint, integer, timestamptz) is
  'Count the next events in job_metrics_slots and job_metrics_totals, forget slots of over eight '
  'days; more: there are further ones that can be counted.';
