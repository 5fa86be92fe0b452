create or replace function runledger._next_bit(mask bigint, at integer)
returns integer
language plpgsql immutable parallel safe
as $$
begin
  for v_at in _next_bit.at..62 loop
    if (_next_bit.mask >> v_at) & 1 = 1 then
      return v_at;
    end if;
  end loop;
  return null;
end
$$;

comment on function runledger._next_bit(bigint, integer) is
  'The lowest bit that is set at or above a place, or NULL.';
