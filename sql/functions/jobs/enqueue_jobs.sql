-- Enqueue a batch in a constant number of statements. One bad item does not spoil the others.
--
-- Locks:  none that anybody else waits for; keyed items wait for concurrent ones with their key, in
--         the order (type, tenant, key).
-- Writes: job_queue, job_events. Notifies workers that are idle for these types.
-- Raises: RL010 job.invalid_batch, RL013 if an item has a key; with strict => true the first
--         refusal by ordinal, and then nothing is written.
create or replace function runledger.enqueue_jobs(jobs jsonb, strict boolean default false)
returns setof runledger.enqueued_item
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_granted constant text[] := runledger._granted_types('{producer,operator}');
  v_ids uuid[];
  v_items runledger._enqueue_item[];
  v_inserted uuid[];
  v_rows runledger.enqueued_item[];
  v_refused runledger.enqueued_item;
begin
  perform runledger._check_batch(enqueue_jobs.jobs);
  if runledger._is_plain_batch(enqueue_jobs.jobs, v_granted, v_now) then
    v_ids := runledger._insert_plain_jobs(enqueue_jobs.jobs, v_now);
    if v_ids is not null then
      return query
      select n.nth::integer, n.id, 'INSERTED', 'PENDING', 1, null::text
        from unnest(v_ids) with ordinality as n(id, nth);
      return;
    end if;
  end if;
  select array_agg(runledger._decode_enqueue(j.item, j.ordinal::integer, v_granted, v_now)
           order by j.ordinal)
    into v_items
    from jsonb_array_elements(enqueue_jobs.jobs) with ordinality as j(item, ordinal);
  if exists (select from unnest(v_items) as i where i.idempotency_key is not null) then
    perform runledger._require_read_committed('job.idempotency_unsupported_isolation');
  end if;
  v_inserted := runledger._insert_jobs(v_items, v_now);
  -- A statement of its own: it sees the jobs that a concurrent call committed meanwhile.
  v_rows := runledger._enqueue_report(v_items, v_inserted);
  if enqueue_jobs.strict then
    select r.* into v_refused
      from unnest(v_rows) as r
     where r.disposition in ('CONFLICT', 'INVALID')
     order by r.ordinal limit 1;
    if found then
      perform runledger._raise(v_refused.code, jsonb_build_object('ordinal', v_refused.ordinal));
    end if;
  end if;
  perform runledger._wake(
    (select array_agg(distinct i.job_type)
       from unnest(v_items) as i
       join unnest(v_rows) as r on r.ordinal = i.ordinal
      where r.disposition = 'INSERTED' and (i.run_at is null or i.run_at <= v_now)), v_now);
  return query select r.* from unnest(v_rows) as r order by r.ordinal;
end
$$;

comment on function runledger.enqueue_jobs(jsonb, boolean) is
  'Enqueue a JSON array of objects with the parameters of enqueue_job as fields (job_type, '
  'payload, organization_id, priority, max_attempts, timeout_seconds, run_at, idempotency_key, '
  'stage). One row per item, in order: disposition INSERTED, EXISTING, CONFLICT (key used for '
  'another request) or INVALID, with the reason in code. Items that share a key share a job. '
  'strict => true raises on the first refused item and writes nothing. At most 10000 items and 32 '
  'MiB.';
