-- Where maintenance counts the events, as it should, there is nothing to do and no row to lock.
-- Else count a piece here, unless somebody is at it. more: it goes on with the next call; false
-- while a transaction that is still open keeps the rest from being counted.
create or replace function runledger._count_first(
  mark bigint, before timestamptz, now timestamptz)
returns runledger.upkeep_report
language plpgsql volatile
as $$
declare
  v_old runledger.upkeep_state;
  v_new runledger.upkeep_state;
  v_affected bigint;
begin
  if not runledger._is_uncounted(_count_first.before) then
    return null;
  end if;
  select u.* into v_old from runledger.upkeep_state as u for no key update skip locked;
  if not found then
    return row('rollup', 0, false)::runledger.upkeep_report;
  end if;
  select r.affected into v_affected
    from runledger._roll_up(_count_first.mark, 20000, _count_first.now) as r;
  select u.* into strict v_new from runledger.upkeep_state as u;
  return row('rollup', v_affected, runledger._is_uncounted(_count_first.before)
    and (v_old.rolled_up_to, v_old.mark_id) is distinct from (v_new.rolled_up_to, v_new.mark_id)
    )::runledger.upkeep_report;
end
$$;

comment on function runledger._count_first(bigint, timestamptz, timestamptz) is
  'Roll up a piece of what is about to go, if it is not counted yet; NULL if it is.';
