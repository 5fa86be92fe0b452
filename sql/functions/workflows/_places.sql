create or replace function runledger._places(ordered integer[])
returns integer[]
language plpgsql immutable
as $$
declare
  v_places integer[] := array_fill(0, array[cardinality(_places.ordered)]);
begin
  for v_place in 1..cardinality(_places.ordered) loop
    v_places[_places.ordered[v_place]] := v_place;
  end loop;
  return v_places;
end
$$;

comment on function runledger._places(integer[]) is 'The inverse of a permutation of 1..n.';
