-- Insert the jobs of a plain batch (_is_plain_batch), with their events, or none of them if a type
-- takes no new jobs. Rows go in as they come: ids tell the order.
create or replace function runledger._insert_plain_jobs(jobs jsonb, now timestamptz)
returns uuid[]
language plpgsql volatile
as $$
declare
  v_base constant uuid := runledger._uuidv7();
  v_types constant text[] := array(
    select distinct j.item ->> 'job_type'
      from jsonb_array_elements(_insert_plain_jobs.jobs) as j(item));
  v_enabled text[];
  v_priorities integer[];
  v_attempts integer[];
  v_timeouts integer[];
  v_ids uuid[];
begin
  select array_agg(d.job_type), array_agg(d.default_priority), array_agg(d.max_attempts),
         array_agg(d.default_timeout_seconds)
    into v_enabled, v_priorities, v_attempts, v_timeouts
    from runledger.job_definitions as d
   where d.job_type = any (v_types) and d.is_enabled;
  if cardinality(v_enabled) is distinct from cardinality(v_types) then
    return null;
  end if;
  with inserted as (
    insert into runledger.job_queue
      (id, job_type, organization_id, payload, priority, max_attempts, timeout_seconds,
       next_run_at, stage, created_at, updated_at)
    select runledger._batch_uuid(v_base, j.nth::integer), d.job_type,
           (j.item ->> 'organization_id')::uuid, coalesce(j.item -> 'payload', '{}'),
           coalesce((j.item ->> 'priority')::integer, d.priority),
           coalesce((j.item ->> 'max_attempts')::integer, d.max_attempts),
           coalesce((j.item ->> 'timeout_seconds')::integer, d.timeout_seconds),
           coalesce((j.item ->> 'run_at')::timestamptz, _insert_plain_jobs.now),
           coalesce(j.item ->> 'stage', 'queued'), _insert_plain_jobs.now, _insert_plain_jobs.now
      from jsonb_array_elements(_insert_plain_jobs.jobs) with ordinality as j(item, nth)
      join unnest(v_enabled, v_priorities, v_attempts, v_timeouts)
           as d(job_type, priority, max_attempts, timeout_seconds)
        on d.job_type = j.item ->> 'job_type'
    returning id, job_type, stage
  ), logged as (
    insert into runledger.job_events (job_id, run_number, event_type, stage, payload, occurred_at)
    select n.id, 1, 'ENQUEUED', n.stage, jsonb_build_object('job_type', n.job_type),
           _insert_plain_jobs.now
      from inserted as n
  )
  select array_agg(n.id order by n.id) into v_ids from inserted as n;
  if exists (select from runledger.workers as w where w.idle_until > _insert_plain_jobs.now) then
    perform runledger._wake(array(
      select distinct j.item ->> 'job_type'
        from jsonb_array_elements(_insert_plain_jobs.jobs) as j(item)
       where coalesce((j.item ->> 'run_at')::timestamptz <= _insert_plain_jobs.now, true)),
      _insert_plain_jobs.now);
  end if;
  return v_ids;
end
$$;

comment on function runledger._insert_plain_jobs(jsonb, timestamptz) is
  'Insert the jobs of a plain batch; their ids in the order of the items, or NULL and nothing.';
