-- A cycle among steps that could not be sorted: each of them has a prerequisite that could not be
-- sorted either, so going back from one to the next must come round.
create or replace function runledger._find_cycle(
  sources integer[], targets integer[], still_open integer[])
returns integer[]
language plpgsql immutable
as $$
declare
  v_back integer[] := array_fill(0, array[cardinality(_find_cycle.still_open)]);
  v_seen integer[] := array_fill(0, array[cardinality(_find_cycle.still_open)]);
  v_path integer[] := '{}';
  v_step integer;
begin
  for v_edge in 1..cardinality(_find_cycle.sources) loop
    if _find_cycle.still_open[_find_cycle.sources[v_edge]] > 0
      and _find_cycle.still_open[_find_cycle.targets[v_edge]] > 0 then
      v_back[_find_cycle.targets[v_edge]] := _find_cycle.sources[v_edge];
      v_step := _find_cycle.targets[v_edge];
    end if;
  end loop;
  while v_seen[v_step] = 0 loop
    v_path := v_path || v_step;
    v_seen[v_step] := cardinality(v_path);
    v_step := v_back[v_step];
  end loop;
  v_path := v_path[v_seen[v_step]:];
  return array(select p.step from unnest(v_path) with ordinality as p(step, place)
                order by p.place desc);
end
$$;

comment on function runledger._find_cycle(integer[], integer[], integer[]) is
  'The steps of one cycle, each a prerequisite of the next.';
