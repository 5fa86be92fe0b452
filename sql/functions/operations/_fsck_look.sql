create or replace function runledger._fsck_look(job_id uuid)
returns text
language sql immutable parallel safe
as $$
  select format('select * from runledger.job_timeline where job_id = %L', _fsck_look.job_id)
$$;

comment on function runledger._fsck_look(uuid) is
  'Where no statement can repair, because what is missing is history: the statement to look with.';
