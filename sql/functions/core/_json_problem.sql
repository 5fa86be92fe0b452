-- The guard before every JSON value that is stored. In this order, cheapest and safest first: the
-- text of a hostile value may be thousands of times its size (1e131071 is 131,072 digits), so its
-- length is taken last. The two shortcuts are exact: 65 levels need more than 500 bytes, and once
-- numbers are bounded the text is less than 64 times the stored size. What is no number compares
-- with none, so the path does not ask for the type; an ordinary number takes two comparisons.
create or replace function runledger._json_problem(value jsonb, max_bytes bigint)
returns text
language plpgsql immutable parallel safe
as $$
declare
  v_size bigint := runledger._json_bytes(_json_problem.value);
begin
  return case
    when v_size <= 12 then null
    when v_size > _json_problem.max_bytes then 'json.too_large'
    when v_size > 500 and jsonb_path_exists(_json_problem.value, 'strict $.**{65}')
      then 'json.too_deep'
    when jsonb_path_exists(_json_problem.value,
      'strict $.** ? (@ > 1e308 || (@ < 1e-308 && (@ < -1e308 || (@ > -1e-308 && @ != 0))))')
      then 'json.number_out_of_range'
    when v_size * 64 > _json_problem.max_bytes
      and octet_length(_json_problem.value::text) > _json_problem.max_bytes
      then 'json.too_large' end;
end
$$;

comment on function runledger._json_problem(jsonb, bigint) is
  'Why a JSON value must not be stored (too large, too deep, unreadable number), or NULL.';
