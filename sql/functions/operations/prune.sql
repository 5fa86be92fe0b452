-- Delete what is finished and old: runs and jobs with all that belongs to them, children first;
-- events and log lines by whole days, by dropping their partitions. A call is a bounded piece of a
-- pass; what a pass meets is judged by the age it has then. Call it again while a row says more.
-- What is not finished, or may still be worked on, is never touched; what the metrics have not
-- counted yet is counted first, and if that is held up by an open transaction nothing is deleted.
--
-- Locks:  the row of its pass and, to count, that of upkeep_state, only tried; runs, then jobs, by
--         id, skipping locked rows. A partition is dropped only by a call that found nothing else
--         to do, waiting at most 200 ms for its lock.
-- Writes: deletes from workflow_step_dependencies, workflow_run_mutations, workflow_steps,
--         workflow_runs, job_attempts, job_dead_letters, job_replays, job_queue, the default
--         partitions of job_events and job_logs; drops partitions; prune_passes, and
--         operator_actions with the first call of a pass.
-- Raises: RL010 operations.invalid_retention, job.invalid_limit, job.invalid_reason,
--         RL013 operations.unsupported_isolation.
create or replace function runledger.prune(
  older_than interval default '14 days', max_rows integer default 10000,
  reason text default null, dead_letters_older_than interval default null)
returns setof runledger.upkeep_report
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  -- First of all, before this transaction gets an id: see _event_mark.
  v_mark constant bigint := runledger._event_mark();
begin
  if (runledger._is_age(prune.older_than) and prune.older_than > '0') is not true
    or not (runledger._is_age(prune.dead_letters_older_than)
            and prune.dead_letters_older_than > '0') then
    perform runledger._raise('operations.invalid_retention',
      jsonb_build_object('max_days', runledger._limit('horizon_days')));
  end if;
  perform runledger._check_count(prune.max_rows, 'prune_rows', 'job.invalid_limit');
  perform runledger._check_reason(prune.reason, false);
  perform runledger._require_read_committed('operations.unsupported_isolation');
  return query
  select p.task, p.affected, p.more
    from runledger._prune('CALL', prune.older_than, coalesce(prune.dead_letters_older_than,
           (runledger.retention()).dead_letters), prune.older_than, prune.reason,
           prune.max_rows, true, v_mark, runledger._now()) as p;
end
$$;

comment on function runledger.prune(interval, integer, text, interval) is
  'Delete finished jobs and workflow runs that are older than that, at most max_rows rows a call '
  '(one job with all that belongs to it may be more); dead-lettered jobs and runs with such a job '
  'by dead_letters_older_than (NULL: as in retention()). Events and log lines go by whole days. '
  'One row per task: affected, and more = call it again. No rows: another session is at it; only '
  'rollup: events wait to be counted in the metrics first. A key of a pruned job or run is free '
  'again.';
