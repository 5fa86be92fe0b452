create or replace function runledger._check_count(value integer, limit_name text, code text)
returns void
language plpgsql immutable
as $$
begin
  if coalesce(_check_count.value, 0)
    not between 1 and runledger._limit(_check_count.limit_name) then
    perform runledger._raise(_check_count.code, jsonb_build_object(
      _check_count.limit_name, _check_count.value,
      'max', runledger._limit(_check_count.limit_name)));
  end if;
end
$$;

comment on function runledger._check_count(integer, text, text) is
  'Raise that code unless the value lies between 1 and the limit of that name; NULL is an error '
  'too.';
