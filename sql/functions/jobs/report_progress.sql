-- Tell how far a job is. NULL keeps the stored value; done and total are checked after the merge.
--
-- Locks:  the job row.
-- Writes: job_queue; job_events: STAGE_CHANGED for a stage, PROGRESS for numbers, none for a
--         checkpoint.
-- Raises: RL001 job.not_found, RL003 job.lease_owner_mismatch or job.canceled,
--         RL010 job.invalid_progress, job.invalid_stage, RL011 for checkpoint.
create or replace function runledger.report_progress(
  job_id uuid, lease_token bigint, done bigint default null, total bigint default null,
  checkpoint jsonb default null, stage text default null)
returns runledger.progress_report
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz;
  v_job runledger._held_job;
  v_report runledger.progress_report;
begin
  if report_progress.stage is not null
    and not runledger._is_name(report_progress.stage, runledger._limit('name_bytes')) then
    perform runledger._raise('job.invalid_stage');
  end if;
  perform runledger._checked_json(
    report_progress.checkpoint, runledger._limit('payload_bytes'), 'checkpoint');
  v_job := runledger._require_lease(report_progress.job_id, report_progress.lease_token);
  if report_progress.done < 0 or report_progress.total < 0
    or coalesce(report_progress.done, v_job.progress_done)
       > coalesce(report_progress.total, v_job.progress_total) then
    perform runledger._raise('job.invalid_progress', jsonb_build_object('job_id', v_job.id));
  end if;
  v_now := runledger._now();
  update runledger.job_queue as q
     set progress_done = coalesce(report_progress.done, q.progress_done),
         progress_total = coalesce(report_progress.total, q.progress_total),
         progress_pct = runledger._percent(coalesce(report_progress.done, q.progress_done),
           coalesce(report_progress.total, q.progress_total)),
         checkpoint = coalesce(report_progress.checkpoint, q.checkpoint),
         stage = coalesce(report_progress.stage, q.stage), updated_at = v_now
   where q.id = v_job.id
  returning q.id, q.stage, q.progress_done, q.progress_total, q.progress_pct into v_report;
  insert into runledger.job_events
    (job_id, run_number, attempt, event_type, stage, progress_done, progress_total, occurred_at)
  select v_job.id, v_job.run_number, v_job.attempt, e.event_type::runledger.job_event_type,
         e.stage, e.done, e.total, v_now
    from (values
      ('STAGE_CHANGED', report_progress.stage, null::bigint, null::bigint),
      ('PROGRESS', null, report_progress.done, report_progress.total))
         as e(event_type, stage, done, total)
   where num_nonnulls(e.stage, e.done, e.total) > 0;
  return v_report;
end
$$;

comment on function runledger.report_progress(uuid, bigint, bigint, bigint, jsonb, text) is
  'Store progress (done of total), a checkpoint for the next attempt, or a stage of a leased job. '
  'NULL keeps what is stored. Returns the merged values.';
