-- Jobs of open types that were locked but lost the merge with limited types: the mark has moved
-- past them and goes back to the last one taken, or to the first one lost. The order of the merge
-- is that of the pick, so that what was taken of it are its first jobs.
create or replace function runledger._set_back_mark(
  job_types text[], picked runledger._pick, taken integer, now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_scope constant text := runledger._claim_scope(_set_back_mark.job_types);
  v_mark runledger._mark := runledger._load_mark(v_scope, _set_back_mark.now);
begin
  with places as (
    select p.priority,
           coalesce((array_agg(p.due_at order by p.nth desc)
                       filter (where p.nth <= _set_back_mark.taken))[1],
                    min(p.due_at)) as due_at,
           coalesce((array_agg(p.id order by p.nth desc)
                       filter (where p.nth <= _set_back_mark.taken))[1],
                    '00000000-0000-0000-0000-000000000000') as id
      from unnest((_set_back_mark.picked).priorities, (_set_back_mark.picked).due_ats,
                  (_set_back_mark.picked).ids) with ordinality as p(priority, due_at, id, nth)
     group by p.priority
    having max(p.nth) > _set_back_mark.taken
  )
  select array_agg(coalesce(b.due_at, m.due_at) order by m.nth),
         array_agg(coalesce(b.id, m.id) order by m.nth)
    into v_mark.due_ats, v_mark.ids
    from unnest(v_mark.priorities, v_mark.due_ats, v_mark.ids)
           with ordinality as m(priority, due_at, id, nth)
    left join places as b on b.priority = m.priority;
  -- Who goes idle asks for what is due behind swept_at.
  v_mark.swept_at := least(v_mark.swept_at, (
    select min(d.at) - interval '1 us'
      from unnest((_set_back_mark.picked).due_ats[_set_back_mark.taken + 1:]) as d(at)));
  if v_mark.scope is not null then
    perform runledger._save_mark(v_scope, v_mark);
  end if;
end
$$;

comment on function runledger._set_back_mark(text[], runledger._pick, integer, timestamptz) is
  'Let the next claim meet again what this one locked of open types and did not take.';
