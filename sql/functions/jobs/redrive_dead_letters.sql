-- Requeue dead-lettered jobs in bulk, oldest failure first, a bounded number at a time.
--
-- Locks:  job_queue rows, skipping locked ones.
-- Writes: job_queue, job_events; one row of operator_actions for all. Notifies idle workers.
-- Raises: RL010 job.invalid_reason, job.invalid_limit, RL013 job.requeue_unsupported_isolation.
create or replace function runledger.redrive_dead_letters(
  reason text, job_type text default null, error_code text default null,
  failed_after timestamptz default null, failed_before timestamptz default null,
  max_jobs integer default 100)
returns setof runledger.requeued_job
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_ids uuid[];
begin
  perform runledger._check_reason(redrive_dead_letters.reason, true);
  perform runledger._check_count(redrive_dead_letters.max_jobs, 'max_jobs', 'job.invalid_limit');
  perform runledger._require_read_committed('job.requeue_unsupported_isolation');
  with picked as materialized (
    select q.id
      from runledger.job_dead_letters as d
      join runledger.job_queue as q on q.id = any (array[d.job_id])
     where q.status = 'DEAD_LETTERED' and q.workflow_run_id is null
       and not runledger._is_redacted(q.payload)
       and d.job_type = coalesce(redrive_dead_letters.job_type, d.job_type)
       and (redrive_dead_letters.error_code is null
            or d.error_code = redrive_dead_letters.error_code)
       and d.failed_at >= coalesce(redrive_dead_letters.failed_after, '-infinity')
       and d.failed_at < coalesce(redrive_dead_letters.failed_before, 'infinity')
     order by d.failed_at, d.job_id
     limit redrive_dead_letters.max_jobs
       for update of q skip locked
  )
  select array_agg(p.id) into v_ids from picked as p;
  if v_ids is not null then
    perform runledger._record_action('redrive_dead_letters', null, redrive_dead_letters.reason,
      jsonb_strip_nulls(jsonb_build_object('jobs', cardinality(v_ids),
        'job_type', left(redrive_dead_letters.job_type, 200),
        'error_code', left(redrive_dead_letters.error_code, 200),
        'failed_after', redrive_dead_letters.failed_after,
        'failed_before', redrive_dead_letters.failed_before)));
  end if;
  return query
    select r.* from runledger._requeue(v_ids, redrive_dead_letters.reason, true, 'REDRIVE') as r;
end
$$;

comment on function runledger.redrive_dead_letters(
  text, text, text, timestamptz, timestamptz, integer) is
  'Requeue up to max_jobs dead-lettered jobs, oldest failure first, of a type, an error code, a '
  'time span (from failed_after on, and before failed_before). Call it again until it returns no '
  'row. A reason is asked for. Jobs of workflows are left out.';
