create or replace function runledger._checked_json(value jsonb, max_bytes bigint, what text)
returns jsonb
language plpgsql immutable parallel safe
as $$
declare
  v_problem text := runledger._json_problem(_checked_json.value, _checked_json.max_bytes);
begin
  if v_problem is not null then
    perform runledger._raise(v_problem, jsonb_build_object(
      'argument', _checked_json.what, 'max_bytes', _checked_json.max_bytes));
  end if;
  return _checked_json.value;
end
$$;

comment on function runledger._checked_json(jsonb, bigint, text) is
  'The value itself, or the error that says why it is refused.';
