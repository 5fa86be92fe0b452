-- A row that was edited by hand may hold anything.
create or replace function runledger._schedule_types(job_type text, steps jsonb)
returns text[]
language sql immutable
as $$
  select case
    when _schedule_types.job_type is not null then array[_schedule_types.job_type]
    when jsonb_typeof(_schedule_types.steps) = 'array' then array(
      select distinct e.step ->> 'job_type'
        from jsonb_array_elements(_schedule_types.steps) as e(step)
       where e.step ? 'job_type')
    else '{}' end
$$;

comment on function runledger._schedule_types(text, jsonb) is
  'The job types that a schedule starts, itself or in the steps of its workflow.';
