-- An attempt that is not whole: what it says of its end stands, the rest follows from it.
create or replace function runledger._fsck_attempt_repair(
  job_id uuid, run_number integer, attempt integer)
returns text
language sql immutable parallel safe
as $$
  select format('update runledger.job_attempts set'
    ' started_at = case when started_at is not null or claim_origin = ''DIRECT'''
    ' then greatest(started_at, leased_at) end,'
    ' finished_at = case when coalesce(finished_at::text, disposition) is not null'
    ' then greatest(finished_at, started_at, leased_at) end,'
    ' disposition = case when finished_at is not null then coalesce(disposition, ''RELEASED'')'
    ' else disposition end,'
    ' outcome = case when disposition in (''RETRY_SCHEDULED'', ''DEAD_LETTERED'')'
    ' then coalesce(outcome, ''TERMINAL'') end'
    ' where job_id = %L and run_number = %s and attempt = %s',
    _fsck_attempt_repair.job_id, _fsck_attempt_repair.run_number, _fsck_attempt_repair.attempt)
$$;

comment on function runledger._fsck_attempt_repair(uuid, integer, integer) is
  'The statement that makes a row of job_attempts whole again.';
