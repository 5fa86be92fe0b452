-- Prove the ledger: a row for each violated invariant, nothing on a sound ledger. Everything is
-- read in the snapshot of the calling statement, so a live system gives no false findings; in a
-- REPEATABLE READ transaction that has been open for long, J7 sees leases as overdue that were
-- extended since.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 operations.invalid_scope, job.invalid_pagination.
create or replace function runledger.fsck(
  scope text default 'full', workflow_run_id uuid default null, max_rows integer default 100)
returns setof runledger.fsck_finding
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set quote_all_identifiers = off set jit = off
set plan_cache_mode = force_custom_plan
as $$
declare
  v_full constant boolean := fsck.scope is not distinct from 'full';
  v_max constant integer := fsck.max_rows;
begin
  if fsck.scope is null or fsck.scope not in ('fast', 'full') then
    perform runledger._raise('operations.invalid_scope');
  end if;
  perform runledger._check_count(v_max, 'max_rows', 'job.invalid_pagination');
  return query
  select f.invariant, f.severity, f.object, f.detail, f.repair || ';'
    from runledger._fsck_findings(v_full, fsck.workflow_run_id, v_max, runledger._now()) as f;
end
$$;

comment on function runledger.fsck(text, uuid, integer) is
  'Check every invariant of the ledger; no rows on a sound one. scope fast: held jobs, schedules, '
  'and that the constraints and unique indexes stand which hold the rest; where one does not, the '
  'rows are read. full: everything, which reads whole tables. workflow_run_id: '
  'only what belongs to that run. At most max_rows rows per invariant; violations in detail is '
  'the exact number. severity ERROR, or WARN for what a clock that stepped or a missing reaper '
  'explains. repair: the statement that repairs it, for the owner of the schema, or the one to '
  'look with.';
