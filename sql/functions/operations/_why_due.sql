-- What stands between a due job of a type in order and a worker. Found in the order of a claim: the
-- row itself, the limit of its type, the slots of the workers, its turn.
create or replace function runledger._why_due(
  job runledger._job_case, type runledger.job_definitions, handlers runledger._handler[],
  now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_hand runledger._lock_holder;
  v_any boolean := false;
begin
  select h.* into v_hand
    from runledger._lock_holders((_why_due.job).locker, null, null, _why_due.now) as h;
  if found then
    return next row(null, 'why.row_locked',
      v_hand.words || ' has locked this job: claims pass it by'
      ' until that transaction ends.', v_hand.fix)::runledger.reason;
    v_any := true;
  end if;
  if (_why_due.type).max_concurrency is not null then
    return query
    select w.* from runledger._why_limit(_why_due.job, (_why_due.type).max_concurrency,
      _why_due.now) as w;
    v_any := v_any or found;
  end if;
  return query
  select w.* from runledger._why_turn(_why_due.job, _why_due.handlers, v_any,
    greatest((_why_due.job).next_run_at, (_why_due.job).updated_at, (_why_due.type).updated_at),
    _why_due.now) as w;
end
$$;

comment on function runledger._why_due(
  runledger._job_case, runledger.job_definitions, runledger._handler[], timestamptz) is
  'Why a due job is not running: locked, limited, no free slot, not its turn; or that it is ready.';
