-- The only place that raises. Messages are constant, values go to DETAIL as JSON and are safe ones:
-- ids, statuses, counts and limits, never a payload or a key.
create or replace function runledger._raise(code text, detail jsonb default '{}')
returns void
language plpgsql volatile
as $$
declare
  v_error runledger.error_code;
begin
  select e.* into v_error
    from runledger.error_codes() as e
   where e.code = _raise.code;
  if not found then
    perform runledger._raise('internal.unknown_error_code', jsonb_build_object(
      'raised', _raise.code));
  end if;
  raise exception using
    errcode = v_error.sqlstate,
    message = v_error.message,
    detail = (jsonb_build_object('code', _raise.code) || _raise.detail)::text,
    hint = v_error.hint;
end
$$;

comment on function runledger._raise(text, jsonb) is
  'Raise the error of that code; detail must be safe to log.';
