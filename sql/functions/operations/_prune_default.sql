-- What was written while no partition was ready: blocks are walked in their order, since the
-- default partition has no index by time.
create or replace function runledger._prune_default(
  parent text, caller text, max_rows bigint, now timestamptz)
returns bigint
language plpgsql volatile
as $$
declare
  v_looks constant bigint := runledger._limit('prune_looks') / 10;
  v_table constant text := format('runledger.%I', _prune_default.parent || '_default');
  v_events constant boolean := _prune_default.parent = 'job_events';
  v_blocks constant bigint := pg_relation_size(v_table::regclass)
    / current_setting('block_size')::bigint;
  v_before timestamptz;
  v_block bigint;
  v_rows bigint;
begin
  select case when v_events then p.after_event_block else p.after_log_block end,
         runledger._prune_horizon(p.history_older_than, _prune_default.now)
    into v_block, v_before
    from runledger.prune_passes as p where p.caller = _prune_default.caller;
  if v_block is null or _prune_default.max_rows <= 0 then
    return 0;
  end if;
  execute format(
    'with doomed as materialized (select d.ctid as at from runledger.%1$I as d'
    ' where d.ctid >= $1 and d.ctid < $2 and d.occurred_at < $3 order by d.ctid limit $4'
    ' for update skip locked) delete from runledger.%1$I as l using doomed as d'
    ' where l.ctid = d.at', _prune_default.parent || '_default')
    using format('(%s,0)', v_block)::tid, format('(%s,0)', v_block + v_looks)::tid, v_before,
      _prune_default.max_rows;
  get diagnostics v_rows = row_count;
  if v_rows < _prune_default.max_rows then
    v_block := case when v_block + v_looks < v_blocks then v_block + v_looks end;
  end if;
  update runledger.prune_passes as p
     set after_event_block = case when v_events then v_block else p.after_event_block end,
         after_log_block = case when v_events then p.after_log_block else v_block end,
         history_begins_at = case when v_events and v_rows > 0
           then greatest(p.history_begins_at, v_before) else p.history_begins_at end
   where p.caller = _prune_default.caller;
  return v_rows;
end
$$;

comment on function runledger._prune_default(text, text, bigint, timestamptz) is
  'Delete the next old rows of a default partition; returns how many went.';
