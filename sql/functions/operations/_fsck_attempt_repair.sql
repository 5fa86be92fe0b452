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
    ' then greatest(finished_at, started_at, leased_at) end, disposition = %4$s,'
    ' outcome = case when %4$s in (''RETRY_SCHEDULED'', ''DEAD_LETTERED'')'
    ' then coalesce(outcome, ''TERMINAL'') end, (retry_delay_ms, effective_next_run_at,'
    ' retry_timing_source) = (select coalesce(retry_delay_ms, 0), coalesce('
    'effective_next_run_at, finished_at, leased_at), coalesce(retry_timing_source, ''POLICY'')'
    ' where %4$s = ''RETRY_SCHEDULED'')'
    ' where job_id = %1$L and run_number = %2$s and attempt = %3$s',
    _fsck_attempt_repair.job_id, _fsck_attempt_repair.run_number, _fsck_attempt_repair.attempt,
    'case when disposition in (''SUCCEEDED'', ''RETRY_SCHEDULED'', ''DEAD_LETTERED'','
    ' ''CONTINUED'', ''RELEASED'', ''CANCELED'') then disposition'
    ' when coalesce(finished_at::text, disposition) is not null then ''RELEASED'' end')
$$;

comment on function runledger._fsck_attempt_repair(uuid, integer, integer) is
  'The statement that makes a row of job_attempts whole again.';
