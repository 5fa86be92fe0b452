-- J13: every value of a job within its range. The functions check each once, where it comes in; a
-- CHECK here would be compiled anew by every statement on job_queue (decision 14).
create or replace function runledger._fsck_values(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  select 'J13', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'column', v.name, 'violations', count(*) over ()),
         case when v.mend is null and q.finished_at is not null then runledger._fsck_look(q.id)
           when v.mend is null
           then format('select * from runledger.cancel_job(%L, ''fsck J13'')', q.id)
           else format('update runledger.job_queue set %s where id = %L', v.mend, q.id) end
    from runledger._fsck_scope(true, _fsck_values.workflow_run_id) as q
   cross join lateral (values
     ('job_type', not runledger._is_name(q.job_type, runledger._limit('name_bytes')), null),
     ('worker_id', q.worker_id is not null
       and not runledger._is_name(q.worker_id, runledger._limit('name_bytes')), null),
     ('stage', not runledger._is_name(q.stage, runledger._limit('name_bytes')),
       'stage = ''queued'''),
     ('timeout_seconds', q.timeout_seconds <= 0, 'timeout_seconds = 900'),
     ('progress_done', q.progress_done < 0 or q.progress_total < 0
       or q.progress_done > q.progress_total,
       'progress_done = null, progress_total = null, progress_pct = null'),
     ('progress_pct', q.progress_pct is distinct from
       runledger._percent(q.progress_done, q.progress_total),
       'progress_pct = runledger._percent(progress_done, progress_total)'),
     ('output', q.output is not null and q.status <> 'SUCCEEDED', 'output = null'),
     ('scheduled_for', (q.schedule_id is null) <> (q.scheduled_for is null),
       'schedule_id = null, scheduled_for = null'),
     ('last_disposition', (q.last_lease_token is null) <> (q.last_disposition is null),
       'last_lease_token = null, last_disposition = null')
     ) as v(name, is_wrong, mend)
   where v.is_wrong
   order by q.id, v.name limit _fsck_values.max_rows;
end
$$;

comment on function runledger._fsck_values(uuid, integer) is
  'Invariant J13: names, counts and times of a job within their ranges.';
