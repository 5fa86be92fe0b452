-- What is wrong with one step by itself: codes without their prefix, in the order in which they are
-- reported.
create or replace function runledger._step_problems(step runledger._step_item, given jsonb)
returns text[]
language plpgsql stable
as $$
declare
  v_step constant runledger._step_item := _step_problems.step;
  v_given constant jsonb := _step_problems.given;
begin
  return array_remove(array[
    case when not runledger._has_only(v_given,
      '{key,external,job_type,after_success,after_terminal,'
      'priority,max_attempts,timeout_seconds,stage,organization_id,allow_continuation,on_timeout}')
      then 'unknown_field' end,
    case when not runledger._is_name(v_step.step_key, runledger._limit('name_bytes'))
      then 'step_key_blank' end,
    case when not v_step.is_external
      and not runledger._is_name(v_step.job_type, runledger._limit('name_bytes'))
      then 'job_type_blank' end,
    case when v_given ? 'max_attempts' and not coalesce(
      v_step.max_attempts between 1 and runledger._limit('max_attempts'), false)
      then 'step_max_attempts_non_positive' end,
    case when v_given ? 'timeout_seconds' and not coalesce(
      v_step.timeout_seconds between 1 and runledger._limit('timeout_seconds'), false)
      then 'step_timeout_seconds_non_positive' end,
    case when v_step.is_external and v_given ? 'job_type'
      then 'external_step_job_type_not_allowed' end,
    case when v_step.is_external
      and v_given ?| '{priority,max_attempts,stage,allow_continuation}'
      then 'external_step_queue_settings_not_allowed' end,
    case when (v_step.is_external and v_given ? 'timeout_seconds' <> v_given ? 'on_timeout')
      or (v_given ? 'on_timeout' and not v_step.is_external)
      or v_step.on_timeout not in ('SUCCEEDED', 'FAILED', 'CANCELED')
      then 'gate_timeout_incomplete' end,
    case when (v_given ? 'priority' and v_step.priority is null)
      or (v_given ? 'organization_id' and v_step.organization_id is null)
      or (v_given ? 'stage'
          and not runledger._is_name(v_step.stage, runledger._limit('name_bytes')))
      or (v_given ? 'external' and jsonb_typeof(v_given -> 'external') <> 'boolean')
      or (v_given ? 'allow_continuation'
          and jsonb_typeof(v_given -> 'allow_continuation') <> 'boolean')
      or (v_given ? 'on_timeout' and v_step.on_timeout is null)
      or (v_given ? 'after_success' and v_step.after_success is null)
      or (v_given ? 'after_terminal' and v_step.after_terminal is null)
      then 'invalid_field' end,
    case when runledger._json_problem(v_step.payload, runledger._limit('payload_bytes')) is not null
      then 'payload_refused' end], null);
end
$$;

comment on function runledger._step_problems(runledger._step_item, jsonb) is
  'The codes of what is wrong with one step by itself, without their prefix.';
