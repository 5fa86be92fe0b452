create or replace function runledger._fsck_run_repair(run_id uuid)
returns text
language sql immutable parallel safe
as $$
  select format('select runledger._repair_run(%L)', _fsck_run_repair.run_id)
$$;

comment on function runledger._fsck_run_repair(uuid) is
  'The statement that derives a run anew from its jobs and edges.';
