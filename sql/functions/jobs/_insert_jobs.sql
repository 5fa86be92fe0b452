-- Insert what is new of a decoded batch. Of several items with one key the first is inserted. Rows
-- go in by (type, tenant, key), so that two batches with the same keys wait for each other and do
-- not deadlock; ids were drawn in the order of the items, so claims keep that order.
create or replace function runledger._insert_jobs(items runledger._enqueue_item[], now timestamptz)
returns uuid[]
language plpgsql volatile
as $$
declare
  v_inserted uuid[];
begin
  with item as materialized (
    select i.*, row_number() over (
             partition by i.job_type, i.organization_id, coalesce(i.idempotency_key, i.id::text)
             order by i.ordinal) as nth
      from unnest(_insert_jobs.items) as i
     where i.code is null
  ), inserted as (
    insert into runledger.job_queue
      (id, job_type, organization_id, payload, priority, max_attempts, timeout_seconds,
       next_run_at, stage, idempotency_key, enqueue_request, created_at, updated_at)
    select i.id, i.job_type, i.organization_id, i.payload,
           coalesce(i.priority, d.default_priority), coalesce(i.max_attempts, d.max_attempts),
           coalesce(i.timeout_seconds, d.default_timeout_seconds),
           coalesce(i.run_at, _insert_jobs.now), i.stage, i.idempotency_key, i.request,
           _insert_jobs.now, _insert_jobs.now
      from item as i
      join runledger.job_definitions as d on d.job_type = i.job_type and d.is_enabled
     where i.nth = 1
     order by i.job_type, i.organization_id, i.idempotency_key, i.ordinal
    on conflict do nothing
    returning id, job_type, stage
  ), logged as (
    insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
    select n.id, 1, 'ENQUEUED', n.stage, jsonb_build_object('job_type', n.job_type),
           _insert_jobs.now
      from inserted as n
  )
  select coalesce(array_agg(n.id), '{}') into v_inserted from inserted as n;
  return v_inserted;
end
$$;

comment on function runledger._insert_jobs(runledger._enqueue_item[], timestamptz) is
  'Insert the new jobs of a batch with their events; returns the ids that were inserted.';
