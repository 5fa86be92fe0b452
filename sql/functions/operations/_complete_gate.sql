create or replace function runledger._complete_gate(run_id uuid, step_key text)
returns text
language sql immutable parallel safe
as $$
  select format('select * from runledger.complete_external_step(%L, %L);', _complete_gate.run_id,
                _complete_gate.step_key)
$$;

comment on function runledger._complete_gate(uuid, text) is 'The statement that completes a gate.';
