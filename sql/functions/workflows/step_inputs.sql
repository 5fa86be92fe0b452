-- The inputs of a step in pages, for the worker that holds its job.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 job.not_found, RL003 job.lease_owner_mismatch, RL010 job.invalid_limit.
create or replace function runledger.step_inputs(
  job_id uuid, lease_token bigint, after_key text default null, max_bytes bigint default 1048576)
returns setof runledger.step_input
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
declare
  v_now timestamptz := runledger._now();
  v_caller constant text := runledger._caller();
  v_job record;
  v_input record;
  v_bytes bigint := 0;
  v_rows bigint := 0;
begin
  if coalesce(step_inputs.max_bytes, 0) not between 1 and runledger._limit('batch_bytes') then
    perform runledger._raise('job.invalid_limit',
      jsonb_build_object('max', runledger._limit('batch_bytes')));
  end if;
  select q.status, q.lease_token, q.lease_expires_at, q.lease_role into v_job
    from runledger.job_queue as q where q.id = step_inputs.job_id;
  if not found then
    perform runledger._raise('job.not_found', jsonb_build_object('job_id', step_inputs.job_id));
  elsif v_job.status <> 'LEASED' or v_job.lease_token is distinct from step_inputs.lease_token
    or v_job.lease_expires_at <= v_now
    or not coalesce(v_job.lease_role = v_caller
      or runledger._acts_as(v_caller, v_job.lease_role), false) then
    perform runledger._raise('job.lease_owner_mismatch',
      jsonb_build_object('job_id', step_inputs.job_id, 'status', v_job.status));
  end if;
  -- One by one, so that no more outputs are unpacked than a page holds.
  for v_input in
    select p.step_key, p.status::text as status, p.output
      from runledger.workflow_steps as s
      join runledger.workflow_step_dependencies as e on e.dependent_step_id = s.id
      join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
     where s.job_id = step_inputs.job_id
       and (step_inputs.after_key is null or p.step_key > step_inputs.after_key)
     order by p.step_key
  loop
    v_bytes := v_bytes + coalesce(octet_length(v_input.output::text), 0);
    exit when v_rows > 0 and v_bytes > step_inputs.max_bytes;
    v_rows := v_rows + 1;
    return next row(v_input.step_key, v_input.status, v_input.output)::runledger.step_input;
  end loop;
end
$$;

comment on function runledger.step_inputs(uuid, bigint, text, bigint) is
  'The prerequisites of a leased step by key, with their outputs, at most max_bytes a page and at '
  'least one. For the next page give the last step_key as after_key.';
