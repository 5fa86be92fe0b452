-- The guard before every JSON value that is stored. In this order, cheapest and safest first: the
-- text of a hostile value may be thousands of times its size (1e131071 is 131,072 digits), so its
-- length is taken last. The two shortcuts are exact: 65 levels need more than 500 bytes, and once
-- numbers are bounded the text is less than 64 times the stored size.
create or replace function runledger._json_problem(value jsonb, max_bytes bigint)
returns text
language plpgsql immutable parallel safe
as $$
declare
  v_size bigint := runledger._json_bytes(_json_problem.value);
begin
  if v_size is null or v_size <= 12 then
    return null;
  elsif v_size > _json_problem.max_bytes then
    return 'json.too_large';
  elsif v_size > 500 and jsonb_path_exists(_json_problem.value, 'strict $.**{65}') then
    return 'json.too_deep';
  elsif jsonb_path_exists(_json_problem.value,
    'strict $.** ? (@.type() == "number" && (@ > 1e308 || @ < -1e308
      || (@ != 0 && @ > -1e-308 && @ < 1e-308)))') then
    return 'json.number_out_of_range';
  elsif v_size * 64 > _json_problem.max_bytes
    and octet_length(_json_problem.value::text) > _json_problem.max_bytes then
    return 'json.too_large';
  end if;
  return null;
end
$$;

comment on function runledger._json_problem(jsonb, bigint) is
  'Why a JSON value must not be stored (too large, too deep, unreadable number), or NULL.';
