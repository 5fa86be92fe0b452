-- A job that changed after its end (redacted, or its handler fell silent) counts from then on, so
-- that none of its events is younger than the horizon. Plain SQL, so that it is inlined.
create or replace function runledger._is_prunable(
  job runledger.job_queue, jobs_before timestamptz, dead_letters_before timestamptz,
  now timestamptz)
returns boolean
language sql immutable parallel safe
as $$
  select greatest((_is_prunable.job).finished_at, (_is_prunable.job).updated_at)
      < case when (_is_prunable.job).status = 'DEAD_LETTERED'
             then _is_prunable.dead_letters_before else _is_prunable.jobs_before end
    and (_is_prunable.job).finished_at is not null
    and ((_is_prunable.job).lease_expires_at is null
      or (_is_prunable.job).lease_expires_at <= _is_prunable.now)
$$;

comment on function runledger._is_prunable(
  runledger.job_queue, timestamptz, timestamptz, timestamptz) is
  'The job is finished, old enough, and no handler can be at work on it.';
