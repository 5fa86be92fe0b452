create or replace function runledger._fsck_run_repair(run_id uuid)
returns text
language sql immutable parallel safe
as $$
  select format('update runledger.workflow_runs as r set steps_total = c.total,'
    ' steps_active = c.active, steps_waiting = c.waiting, steps_failed = c.failed,'
    ' steps_succeeded = c.succeeded, status = n.status, finished_at = case when n.status in'
    ' (''RUNNING'', ''WAITING_FOR_EXTERNAL'') then null else coalesce(r.finished_at, r.updated_at)'
    ' end, result = case when n.status = ''SUCCEEDED'' then r.result end from (select'
    ' count(*) as total,'
    ' count(*) filter (where status in (''BLOCKED'', ''ENQUEUED'', ''RUNNING'')) as active,'
    ' count(*) filter (where status = ''WAITING_FOR_EXTERNAL'') as waiting,'
    ' count(*) filter (where status in (''FAILED'', ''CANCELED'')) as failed,'
    ' count(*) filter (where status = ''SUCCEEDED'') as succeeded'
    ' from runledger.workflow_steps where workflow_run_id = %1$L) as c,'
    ' lateral (select runledger._status_of_run(c.active, c.waiting, c.failed)) as s(status),'
    ' runledger.workflow_runs as o, lateral (select case when o.status = ''CANCELED'''
    ' and c.active + c.waiting = 0 then o.status else s.status end) as n(status)'
    ' where r.id = %1$L and o.id = r.id', _fsck_run_repair.run_id)
$$;

comment on function runledger._fsck_run_repair(uuid) is
  'The statement that counts the steps of a run anew and derives its status.';
