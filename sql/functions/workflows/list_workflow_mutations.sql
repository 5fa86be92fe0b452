-- What was appended to one run, in time order, without the requests as made.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL010 job.invalid_pagination, job.invalid_cursor; no row for a run of another tenant.
create or replace function runledger.list_workflow_mutations(
  workflow_run_id uuid, after_created_at timestamptz default null, after_key text default null,
  max_rows integer default 100, organization_id uuid default null)
returns setof runledger.workflow_mutation
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set enable_seqscan = off set jit = off
as $$
begin
  perform runledger._check_count(
    list_workflow_mutations.max_rows, 'max_rows', 'job.invalid_pagination');
  if (list_workflow_mutations.after_created_at is null)
    <> (list_workflow_mutations.after_key is null) then
    perform runledger._raise('job.invalid_cursor');
  end if;
  if not runledger._run_in_scope(
    list_workflow_mutations.workflow_run_id, list_workflow_mutations.organization_id) then
    return;
  end if;
  return query
  select m.workflow_run_id, m.mutation_key, m.append_window, cardinality(m.step_keys),
         m.step_keys[:runledger._limit('max_rows')::integer], m.created_at
    from runledger.workflow_run_mutations as m
   where m.workflow_run_id = list_workflow_mutations.workflow_run_id
     and (m.created_at, m.mutation_key) > (
           coalesce(list_workflow_mutations.after_created_at, '-infinity'),
           coalesce(list_workflow_mutations.after_key, ''))
   order by m.created_at, m.mutation_key limit list_workflow_mutations.max_rows;
end
$$;

comment on function runledger.list_workflow_mutations(uuid, timestamptz, text, integer, uuid) is
  'The appends to a run, oldest first: key, gate under which it was made, how many steps and the '
  'keys of the first thousand. For the next page give created_at and mutation_key of the last one '
  'as after_created_at and after_key. At most 1000 rows a page.';
