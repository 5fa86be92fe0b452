-- D1-D3: dead letters and the jobs they are about.
create or replace function runledger._fsck_dead_letters(workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
declare
  v_run constant uuid := _fsck_dead_letters.workflow_run_id;
begin
  -- D1: a dead letter has its job.
  return query
  select 'D1', 'ERROR', 'job ' || d.job_id, jsonb_build_object('run_number', d.run_number,
           'attempt', d.attempt, 'failed_at', d.failed_at, 'violations', count(*) over ()),
         format('delete from runledger.job_dead_letters where job_id = %L', d.job_id)
    from runledger.job_dead_letters as d
   where v_run is null
     and not exists (select from runledger.job_queue as q where q.id = d.job_id)
   order by d.job_id limit _fsck_dead_letters.max_rows;
  -- D2: a dead-lettered job has the letter of its last attempt.
  return query
  select 'D2', 'ERROR', 'job ' || q.id, jsonb_build_object('run_number', q.run_number,
           'attempt', q.attempt, 'letter_run_number', d.run_number,
           'letter_attempt', d.attempt, 'violations', count(*) over ()),
         format('insert into runledger.job_dead_letters (job_id, job_type, organization_id,'
           ' run_number, attempt, error_code, error_message, payload_snapshot,'
           ' checkpoint_snapshot, failed_at) select id, job_type, organization_id, run_number,'
           ' attempt, last_error_code, last_error_message, payload, checkpoint, finished_at'
           ' from runledger.job_queue where id = %L and status = ''DEAD_LETTERED'' on conflict'
           ' (job_id) do update set run_number = excluded.run_number, attempt = excluded.attempt,'
           ' error_code = excluded.error_code, error_message = excluded.error_message,'
           ' payload_snapshot = excluded.payload_snapshot,'
           ' checkpoint_snapshot = excluded.checkpoint_snapshot,'
           ' failed_at = excluded.failed_at', q.id)
    from runledger.job_queue as q
    left join runledger.job_dead_letters as d on d.job_id = q.id
   where q.status = 'DEAD_LETTERED' and (v_run is null or q.workflow_run_id = v_run)
     and (q.run_number, q.attempt) is distinct from (d.run_number, d.attempt)
   order by q.id limit _fsck_dead_letters.max_rows;
  -- D3: no letter for a run that is not dead, or still to come.
  return query
  select 'D3', 'ERROR', 'job ' || d.job_id, jsonb_build_object('status', q.status,
           'run_number', q.run_number, 'letter_run_number', d.run_number,
           'violations', count(*) over ()),
         format('delete from runledger.job_dead_letters where job_id = %L', d.job_id)
    from runledger.job_dead_letters as d
    join runledger.job_queue as q on q.id = d.job_id
   where (d.run_number > q.run_number
          or (d.run_number = q.run_number and q.status <> 'DEAD_LETTERED'))
     and (v_run is null or q.workflow_run_id = v_run)
   order by d.job_id limit _fsck_dead_letters.max_rows;
end
$$;

comment on function runledger._fsck_dead_letters(uuid, integer) is
  'Invariants D1 to D3: dead letters.';
