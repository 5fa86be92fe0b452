-- Steps of runs whose edges are gone, with their jobs. The runs are held, so no step can change.
create or replace function runledger._erase_steps(
  run_ids uuid[], horizon timestamptz, caller text, max_rows bigint)
returns bigint
language plpgsql volatile
as $$
declare
  v_steps uuid[] := array(
    select s.id from runledger.workflow_steps as s
     where s.workflow_run_id = any (_erase_steps.run_ids)
     order by s.workflow_run_id, s.ordinal limit _erase_steps.max_rows);
  v_held uuid[];
  v_erased runledger._erasure;
  v_rows bigint;
begin
  delete from runledger.workflow_steps as s
   where s.id = any (v_steps)
     and not exists (select from runledger.job_queue as q where q.id = s.job_id);
  get diagnostics v_rows = row_count;
  v_held := array(
    select q.id from runledger.workflow_steps as s
      join runledger.job_queue as q on q.id = s.job_id
     where s.id = any (v_steps)
     order by q.id limit _erase_steps.max_rows - v_rows
       for update of q skip locked);
  v_erased := runledger._erase_jobs(v_held, _erase_steps.horizon, _erase_steps.caller,
    _erase_steps.max_rows - v_rows, 1);
  delete from runledger.workflow_steps as s
   where s.id = any (v_steps) and s.job_id = any (v_erased.job_ids);
  return v_rows + v_erased.affected + cardinality(v_erased.job_ids);
end
$$;

comment on function runledger._erase_steps(uuid[], timestamptz, text, bigint) is
  'Delete steps of these runs with their jobs, at most so many rows; returns how many went.';
