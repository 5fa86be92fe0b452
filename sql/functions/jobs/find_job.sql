-- The job of an idempotency key. A key belongs to one type and one tenant, or to none: here the
-- tenant is that very one, and NULL means the jobs without a tenant, not any.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL005 access.job_type_not_granted; no row if the key is not in use there.
create or replace function runledger.find_job(
  job_type text, idempotency_key text, organization_id uuid default null)
returns setof runledger.job_summary
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
begin
  perform runledger._require_granted(
    array[find_job.job_type], runledger._granted_types('{producer,operator,observer}'));
  -- Two statements for two indexes: keys with a tenant and keys without.
  if find_job.organization_id is null then
    return query
    select s.* from runledger.job_queue as q
      join runledger._job_summaries as s on s.job_id = q.id
     where q.job_type = find_job.job_type and q.idempotency_key = find_job.idempotency_key
       and q.organization_id is null;
  else
    return query
    select s.* from runledger.job_queue as q
      join runledger._job_summaries as s on s.job_id = q.id
     where q.job_type = find_job.job_type and q.idempotency_key = find_job.idempotency_key
       and q.organization_id = find_job.organization_id;
  end if;
end
$$;

comment on function runledger.find_job(text, text, uuid) is
  'The job that was enqueued under an idempotency key, or no row. The scope is exact, as at '
  'enqueue: without organization_id the jobs of no tenant are meant, not those of any.';
