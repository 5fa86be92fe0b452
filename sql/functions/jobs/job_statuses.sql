-- What became of these jobs, all at once.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_ids.
create or replace function runledger.job_statuses(
  job_ids uuid[], organization_id uuid default null)
returns setof runledger.job_state
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
set enable_seqscan = off set jit = off set plan_cache_mode = force_generic_plan
as $$
declare
  v_granted constant text[] := runledger._granted_types('{producer,operator,observer}');
begin
  if job_statuses.job_ids is null or array_ndims(job_statuses.job_ids) > 1
    or cardinality(job_statuses.job_ids) > runledger._limit('max_rows')
    or array_position(job_statuses.job_ids, null) is not null then
    perform runledger._raise('job.invalid_ids',
      jsonb_build_object('max', runledger._limit('max_rows')));
  end if;
  return query
  select q.id, q.job_type, q.status::text, q.run_number, q.attempt, q.stage, q.next_run_at,
         q.finished_at, q.last_error_code
    from runledger.job_queue as q
   where q.id = any (job_statuses.job_ids)
     and (v_granted is null or q.job_type = any (v_granted))
     and (job_statuses.organization_id is null
          or q.organization_id = job_statuses.organization_id)
   order by q.id;
end
$$;

comment on function runledger.job_statuses(uuid[], uuid) is
  'The status of up to 1000 jobs, by id, ascending. An unknown id, one of another tenant or '
  'of a type that the caller may not enqueue has no row.';
