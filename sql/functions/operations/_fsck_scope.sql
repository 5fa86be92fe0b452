-- The jobs that a pass of fsck looks at. Plain SQL, so that it is inlined and the two partial
-- indexes on unfinished jobs serve a fast pass.
create or replace function runledger._fsck_scope(everything boolean, workflow_run_id uuid)
returns setof runledger.job_queue
language sql stable
as $$
  select q.*
    from runledger.job_queue as q
   where (_fsck_scope.everything or q.status = 'PENDING' or q.lease_token is not null)
     and (_fsck_scope.workflow_run_id is null
          or q.workflow_run_id = _fsck_scope.workflow_run_id)
$$;

comment on function runledger._fsck_scope(boolean, uuid) is
  'All jobs or the unfinished ones, of one workflow run or of all.';
