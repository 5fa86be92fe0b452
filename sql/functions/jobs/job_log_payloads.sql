-- The JSON that came with log lines of one job.
--
-- Locks:  none.
-- Writes: operator_actions; nothing on a standby.
-- Raises: RL010 job.invalid_ids; no row for a line that is not there, or of another tenant.
create or replace function runledger.job_log_payloads(
  job_id uuid, log_ids bigint[], organization_id uuid default null)
returns setof runledger.job_log_body
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  if job_log_payloads.log_ids is null
    or cardinality(job_log_payloads.log_ids) > runledger._limit('max_rows')
    or array_ndims(job_log_payloads.log_ids) > 1
    or array_position(job_log_payloads.log_ids, null) is not null then
    perform runledger._raise('job.invalid_ids',
      jsonb_build_object('max', runledger._limit('max_rows')));
  end if;
  if not runledger._job_in_scope(job_log_payloads.job_id, job_log_payloads.organization_id) then
    return;
  end if;
  perform runledger._record_read('job_log_payloads', job_log_payloads.job_id::text);
  return query
  select l.id, l.payload
    from runledger.job_logs as l
   where l.job_id = job_log_payloads.job_id and l.id = any (job_log_payloads.log_ids)
   order by l.id;
end
$$;

comment on function runledger.job_log_payloads(uuid, bigint[], uuid) is
  'The JSON of up to 1000 log lines of one job, by the log_id that list_job_logs tells; that it '
  'was read stands in operator_actions.';
