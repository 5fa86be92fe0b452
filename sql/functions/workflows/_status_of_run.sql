create or replace function runledger._status_of_run(active bigint, waiting bigint, failed bigint)
returns runledger.workflow_run_status
language sql stable parallel safe
as $$
  select case when _status_of_run.active > 0 then 'RUNNING'
              when _status_of_run.waiting > 0 then 'WAITING_FOR_EXTERNAL'
              when _status_of_run.failed > 0 then 'COMPLETED_WITH_ERRORS'
              else 'SUCCEEDED' end::runledger.workflow_run_status
$$;

comment on function runledger._status_of_run(bigint, bigint, bigint) is
  'The status of a run that was not canceled, by its counters.';
