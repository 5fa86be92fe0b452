create or replace function runledger._past_append(run_id uuid, mutation_key text, request jsonb)
returns text[]
language plpgsql stable
as $$
declare
  v_past runledger.workflow_run_mutations;
begin
  select m.* into v_past
    from runledger.workflow_run_mutations as m
   where m.workflow_run_id = _past_append.run_id and m.mutation_key = _past_append.mutation_key;
  if found and v_past.request <> _past_append.request then
    perform runledger._raise('workflow.append_conflicting_retry',
      jsonb_build_object('workflow_run_id', _past_append.run_id));
  end if;
  return v_past.step_keys;
end
$$;

comment on function runledger._past_append(uuid, text, jsonb) is
  'The step keys of the append with that key, NULL if there was none; raises if it was another '
  'one.';
