-- Put steps into a run whose counters already count them as active, and start what can start. The
-- caller holds the run row (or has just inserted it). What is born unsatisfied is canceled and
-- tells its own dependents.
create or replace function runledger._grow_run(
  run_id uuid, organization_id uuid, steps runledger._step_item[],
  sorted runledger._step_order, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_base constant integer := coalesce((
    select max(s.ordinal) from runledger.workflow_steps as s
      where s.workflow_run_id = _grow_run.run_id), 0);
  v_enqueued uuid[];
  v_moved runledger._finished_step[];
  v_canceled runledger._finished_step[];
begin
  perform runledger._add_steps(_grow_run.run_id, _grow_run.organization_id, _grow_run.steps,
    _grow_run.sorted, v_base, _grow_run.now);
  perform runledger._add_edges(_grow_run.run_id, _grow_run.steps, _grow_run.now);
  select array_agg(s.id) filter (where s.status = 'ENQUEUED'),
         coalesce(array_agg(row(s.id, s.workflow_run_id, s.status)::runledger._finished_step)
           filter (where s.status in ('WAITING_FOR_EXTERNAL', 'CANCELED')), '{}'),
         coalesce(array_agg(row(s.id, s.workflow_run_id, s.status)::runledger._finished_step)
           filter (where s.status = 'CANCELED'), '{}')
    into v_enqueued, v_moved, v_canceled
    from runledger.workflow_steps as s
   where s.workflow_run_id = _grow_run.run_id and s.ordinal > v_base;
  if v_enqueued is not null then
    perform runledger._enqueue_steps(v_enqueued, _grow_run.now);
  end if;
  if v_canceled <> '{}' then
    v_moved := v_moved || runledger._advance(v_canceled, _grow_run.now);
  end if;
  if cardinality(v_moved) > 0 then
    perform runledger._count_steps(v_moved, '{}', _grow_run.now);
  end if;
end
$$;

comment on function runledger._grow_run(
  uuid, uuid, runledger._step_item[], runledger._step_order, timestamptz) is
  'Insert steps and edges into a run and start what can start.';
