-- One step of a workflow, decoded; problems has the codes of all that is wrong with it by itself.
create or replace function runledger._decode_step(item jsonb, nth integer)
returns runledger._step_item
language plpgsql stable
as $$
declare
  v_step runledger._step_item;
  v_given jsonb;
begin
  v_step.nth := _decode_step.nth;
  v_step.problems := '{}';
  v_step.after_success := '{}';
  v_step.after_terminal := '{}';
  if jsonb_typeof(_decode_step.item) is distinct from 'object' then
    v_step.problems := '{step_not_an_object}';
    return v_step;
  end if;
  v_given := jsonb_strip_nulls(_decode_step.item - 'payload');
  v_step.step_key := runledger._as_text(v_given -> 'key');
  v_step.is_external := coalesce(v_given -> 'external' = 'true', false);
  v_step.job_type := runledger._as_text(v_given -> 'job_type');
  v_step.payload := coalesce(_decode_step.item -> 'payload', '{}');
  v_step.priority := runledger._as_integer(v_given -> 'priority');
  v_step.max_attempts := runledger._as_integer(v_given -> 'max_attempts');
  v_step.timeout_seconds := runledger._as_integer(v_given -> 'timeout_seconds');
  v_step.stage := runledger._as_text(v_given -> 'stage');
  v_step.organization_id := runledger._as_uuid(v_given -> 'organization_id');
  v_step.allow_continuation := coalesce(v_given -> 'allow_continuation' = 'true', false);
  v_step.on_timeout := runledger._as_text(v_given -> 'on_timeout');
  if v_given ? 'after_success' then
    v_step.after_success := runledger._as_text_array(v_given -> 'after_success');
  end if;
  if v_given ? 'after_terminal' then
    v_step.after_terminal := runledger._as_text_array(v_given -> 'after_terminal');
  end if;
  v_step.problems := runledger._step_problems(v_step, v_given);
  return v_step;
end
$$;

comment on function runledger._decode_step(jsonb, integer) is
  'One step of a workflow, decoded and checked; never raises.';
