-- Seconds are enough to read; lines stand in the order of the full instant, and of writing within
-- it.
create or replace view runledger.job_timeline with (security_barrier) as
  select t.job_id, date_trunc('second', t.occurred_at) as occurred_at, t.run, t.try, t.event,
         t.stage, left(translate(t.detail, E'\r\n\t', '   '), 80) as detail
    from (
      select e.job_id, e.occurred_at, 0 as source, e.id, e.run_number as run, e.attempt as try,
             case e.event_type
               when 'ENQUEUED' then 'queued' when 'LEASED' then 'claimed'
               when 'STAGE_CHANGED' then 'stage' when 'RETRY_SCHEDULED' then 'retry'
               when 'SUCCEEDED' then 'done' when 'DEAD_LETTERED' then 'dead'
               when 'PAYLOAD_CORRECTED' then 'corrected'
               else lower(e.event_type::text) end as event,
             e.stage,
             case e.event_type
               when 'ENQUEUED' then 'replay of ' || (e.payload ->> 'replayed_from_job_id')
               when 'LEASED' then concat('by ', e.payload ->> 'worker_id', ', ',
                 e.payload ->> 'lease_duration_seconds', ' s')
               when 'PROGRESS' then concat_ws(' of ', e.progress_done, e.progress_total)
               when 'FAILED' then concat_ws(': ', e.payload ->> 'error_code',
                 e.payload ->> 'error_message')
               when 'RETRY_SCHEDULED' then 'in ' || trim_scale(
                 (e.payload ->> 'retry_delay_ms')::numeric / 1000) || ' s'
               when 'DEAD_LETTERED' then e.payload ->> 'kind'
               when 'REQUEUED' then concat_ws(': ', case e.payload ->> 'requeue_kind'
                   when 'RELEASE' then case when e.payload ->> 'refunded' = 'true'
                     then 'given back' else 'given back, charged' end
                   when 'HANDLER_CONTINUATION' then 'to be continued'
                   when 'REDRIVE' then 'redriven'
                   else 'new run' end,
                 nullif(e.payload ->> 'reason', 'HANDLER_CONTINUATION'))
               else e.payload ->> 'reason' end as detail
        from runledger.job_events as e
      union all
      select l.job_id, l.occurred_at, 1, l.id, l.run_number, nullif(l.attempt, 0),
             left(l.level, 9), null, l.message
        from runledger.job_logs as l) as t
   order by t.job_id, t.occurred_at, t.source, t.id;

comment on view runledger.job_timeline is
  'What happened to a job and what its handler wrote, one line each: where job_id = ''...''.';
comment on column runledger.job_timeline.job_id is 'The job.';
comment on column runledger.job_timeline.occurred_at is 'When, to the second.';
comment on column runledger.job_timeline.run is 'Run of the job; requeued tells the run it ends.';
comment on column runledger.job_timeline.try is 'Attempt in that run; empty before the first.';
comment on column runledger.job_timeline.event is
  'queued, claimed, stage, progress, done, failed, retry, dead, requeued, canceled, corrected, '
  'redacted; or the level of a log line.';
comment on column runledger.job_timeline.stage is 'Stage after the event, where it says one.';
comment on column runledger.job_timeline.detail is
  'By whom, how far, what went wrong, why; or the log line. Cut; whole in job_events and '
  'job_logs.';
