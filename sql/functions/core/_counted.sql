create or replace function runledger._counted(n bigint, noun text)
returns text
language sql immutable parallel safe
as $$
  select n || ' ' || noun || case when n = 1 then '' else 's' end
$$;

comment on function runledger._counted(bigint, text) is 'A number with its noun: 1 job, 2 jobs.';
