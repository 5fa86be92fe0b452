-- K1, K2: idempotency keys. The groups are counted on the two unique indexes alone; ids are
-- fetched for those that are wrong. The repair lets the oldest job keep the key. Keys are never
-- shown.
create or replace function runledger._fsck_keys(
  everything boolean, workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  -- K1: one job per type, tenant and key.
  return query
  with shared as (
    select q.job_type, q.organization_id, q.idempotency_key
      from runledger.job_queue as q
     where q.idempotency_key is not null and q.organization_id is not null
     group by q.job_type, q.organization_id, q.idempotency_key having count(*) > 1
    union all
    select q.job_type, null::uuid, q.idempotency_key
      from runledger.job_queue as q
     where q.idempotency_key is not null and q.organization_id is null
     group by q.job_type, q.idempotency_key having count(*) > 1
  )
  select 'K1', 'ERROR', 'job ' || j.ids[1], jsonb_build_object('job_type', s.job_type,
           'organization_id', s.organization_id, 'jobs', cardinality(j.ids),
           'job_ids', j.ids[1:10], 'violations', count(*) over ()),
         format('update runledger.job_queue set idempotency_key = null, enqueue_request = null'
           ' where id = any (%L)', j.ids[2:])
    from shared as s
   cross join lateral (
     select array_agg(q.id order by q.id) as ids
       from runledger.job_queue as q
      where q.job_type = s.job_type and q.idempotency_key = s.idempotency_key
        and q.organization_id is not distinct from s.organization_id) as j
   where _fsck_keys.workflow_run_id is null
   order by j.ids[1] limit _fsck_keys.max_rows;
  -- K2: a key is no blank, has at most 512 bytes, and its request is kept.
  return query
  select 'K2', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
           'key_bytes', octet_length(q.idempotency_key),
           'has_request', q.enqueue_request is not null, 'violations', count(*) over ()),
         format('update runledger.job_queue set idempotency_key = null, enqueue_request = null'
           ' where id = %L', q.id)
    from runledger._fsck_scope(_fsck_keys.everything, _fsck_keys.workflow_run_id) as q
   where q.idempotency_key is not null
     and (q.enqueue_request is null
          or not runledger._is_name(q.idempotency_key, runledger._limit('key_bytes')))
   order by q.id limit _fsck_keys.max_rows;
end
$$;

comment on function runledger._fsck_keys(boolean, uuid, integer) is
  'Invariants K1 and K2: idempotency keys.';
