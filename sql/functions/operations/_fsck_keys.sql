-- K1, K2: idempotency keys. The groups are counted on the two unique indexes alone; ids are
-- fetched for those that are wrong. The repair lets the oldest job keep the key. Keys are never
-- shown. A fast look trusts the indexes that stand, as with J1, and does not ask for K2.
create or replace function runledger._fsck_keys(
  everything boolean, workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  -- K1: one job per type, tenant and key.
  if _fsck_keys.everything or not runledger._is_guarded('job_queue', array[
    'job_queue_one_job_per_tenant_key', 'job_queue_one_job_per_global_key']) then
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
    ), first as materialized (
      select s.*, count(*) over () as violations
        from shared as s
       where _fsck_keys.workflow_run_id is null
       order by s.job_type, s.organization_id, s.idempotency_key limit _fsck_keys.max_rows
    ), named as (
      select s.job_type, s.organization_id, s.violations, array_agg(q.id order by q.id) as ids
        from first as s
        join runledger.job_queue as q
          on q.job_type = s.job_type and q.idempotency_key = s.idempotency_key
         and q.organization_id is not distinct from s.organization_id
       group by s.job_type, s.organization_id, s.idempotency_key, s.violations
    )
    select 'K1', 'ERROR', 'job ' || n.ids[1], jsonb_build_object('job_type', n.job_type,
             'organization_id', n.organization_id, 'jobs', cardinality(n.ids),
             'job_ids', n.ids[:10], 'violations', n.violations),
           format('update runledger.job_queue set idempotency_key = null, enqueue_request = null'
             ' where id = any (%L)', n.ids[2:])
      from named as n
     order by n.ids[1];
  end if;
  -- K2: a key is no blank, has at most 512 bytes, and its request is kept.
  if _fsck_keys.everything then
    return query
    select 'K2', 'ERROR', 'job ' || q.id, jsonb_build_object('status', q.status,
             'key_bytes', octet_length(q.idempotency_key),
             'has_request', q.enqueue_request is not null, 'violations', count(*) over ()),
           format('update runledger.job_queue set idempotency_key = null, enqueue_request = null'
             ' where id = %L', q.id)
      from runledger._fsck_scope(true, _fsck_keys.workflow_run_id) as q
     where q.idempotency_key is not null
       and (q.enqueue_request is null
            or not runledger._is_name(q.idempotency_key, runledger._limit('key_bytes')))
     order by q.id limit _fsck_keys.max_rows;
  end if;
end
$$;

comment on function runledger._fsck_keys(boolean, uuid, integer) is
  'Invariants K1 and K2: idempotency keys.';
