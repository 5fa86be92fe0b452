-- Where the run of each value 1..n begins in a sorted array; entry n + 1 is one past its end.
create or replace function runledger._offsets(sorted integer[], n integer)
returns integer[]
language plpgsql immutable
as $$
declare
  v_offsets integer[] := array_fill(0, array[_offsets.n + 1]);
  v_place integer := 1;
  v_size constant integer := coalesce(cardinality(_offsets.sorted), 0);
begin
  for v_value in 1.._offsets.n + 1 loop
    while v_place <= v_size and _offsets.sorted[v_place] < v_value loop
      v_place := v_place + 1;
    end loop;
    v_offsets[v_value] := v_place;
  end loop;
  return v_offsets;
end
$$;

comment on function runledger._offsets(integer[], integer) is
  'For each value 1..n+1 the place of its first entry in a sorted array.';
