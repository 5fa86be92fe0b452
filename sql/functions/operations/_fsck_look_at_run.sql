create or replace function runledger._fsck_look_at_run(run_id uuid)
returns text
language sql immutable parallel safe
as $$
  select format('select * from runledger.workflow_tree(%L)', _fsck_look_at_run.run_id)
$$;

comment on function runledger._fsck_look_at_run(uuid) is
  'Where no single statement can repair a run: the statement to look with.';
