-- Topological order in one pass, linear in steps and edges: take a step whose prerequisites are all
-- taken, in the order of the list; its level is one more than the highest level among them. What
-- cannot be taken lies on a cycle or behind one: following open prerequisites backwards finds it.
-- Steps are numbered 1..n by the list; edges to steps of an existing run do not count.
create or replace function runledger._sort_steps(steps runledger._step_item[])
returns runledger._step_order
language plpgsql stable
as $$
declare
  v_count constant integer := cardinality(_sort_steps.steps);
  v_from integer[];     -- prerequisites, edges sorted by them
  v_to integer[];       -- their dependents
  v_first integer[];    -- place of the first edge of each prerequisite; v_count + 1 entries
  v_open integer[];     -- prerequisites not taken yet
  v_level integer[];
  v_order integer[];
  v_head integer := 1;
  v_tail integer;
  v_step integer;
  v_next integer;
begin
  with step as materialized (
    select s.nth, s.step_key, s.after_success || s.after_terminal as waits_for
      from unnest(_sort_steps.steps) as s
  ), edge as materialized (
    select p.nth as source, d.nth as target
      from step as d
     cross join lateral unnest(d.waits_for) as w(step_key)
      join step as p on p.step_key = w.step_key
  )
  select (select array_agg(e.source order by e.source, e.target) from edge as e),
         (select array_agg(e.target order by e.source, e.target) from edge as e),
         (select array_agg(coalesce(n.edges, 0) order by s.nth) from step as s
            left join (select e.target, count(*)::integer as edges from edge as e group by e.target)
              as n on n.target = s.nth)
    into v_from, v_to, v_open;
  v_first := runledger._offsets(v_from, v_count);
  v_level := array_fill(0, array[v_count]);
  v_order := array(select i from generate_series(1, v_count) as i where v_open[i] = 0 order by i);
  v_tail := cardinality(v_order);
  while v_head <= v_tail loop
    v_step := v_order[v_head];
    v_head := v_head + 1;
    for v_edge in v_first[v_step]..v_first[v_step + 1] - 1 loop
      v_next := v_to[v_edge];
      v_open[v_next] := v_open[v_next] - 1;
      v_level[v_next] := greatest(v_level[v_next], v_level[v_step] + 1);
      if v_open[v_next] = 0 then
        v_tail := v_tail + 1;
        v_order[v_tail] := v_next;
      end if;
    end loop;
  end loop;
  if v_tail = v_count then
    return row(runledger._places(v_order), v_level, null)::runledger._step_order;
  end if;
  return row(null, null, runledger._find_cycle(v_from, v_to, v_open))::runledger._step_order;
end
$$;

comment on function runledger._sort_steps(runledger._step_item[]) is
  'Place in the topological order and level of each step, by its number in the list; or a cycle.';
