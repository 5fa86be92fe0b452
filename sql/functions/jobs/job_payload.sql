-- The JSON bodies of one job.
--
-- Locks:  none.
-- Writes: operator_actions; nothing on a standby.
-- Raises: nothing; no row if there is none, or if it belongs to another tenant.
create or replace function runledger.job_payload(job_id uuid, organization_id uuid default null)
returns setof runledger.job_body
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._record_read('job_payload', job_payload.job_id::text);
  return query
  select q.id, q.payload, q.checkpoint, q.output
    from runledger.job_queue as q
   where q.id = job_payload.job_id
     and (job_payload.organization_id is null or q.organization_id = job_payload.organization_id);
end
$$;

comment on function runledger.job_payload(uuid, uuid) is
  'payload, checkpoint and output of one job; that they were read stands in operator_actions. '
  'Apart from claims, and from get_job for the owner of the schema, the only way to them.';
