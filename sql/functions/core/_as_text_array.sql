create or replace function runledger._as_text_array(value jsonb)
returns text[]
language plpgsql immutable parallel safe
as $$
begin
  if jsonb_typeof(_as_text_array.value) <> 'array'
    or jsonb_path_exists(_as_text_array.value, 'strict $[*] ? (@.type() != "string")') then
    return null;
  end if;
  return array(select jsonb_array_elements_text(_as_text_array.value));
end
$$;

comment on function runledger._as_text_array(jsonb) is
  'An array of strings out of a batch item, empty if it is absent, NULL if it is none.';
