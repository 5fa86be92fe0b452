-- What would run when, and who would run it, without starting anything.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL030 as enqueue_workflow does.
create or replace function runledger.explain_workflow(steps jsonb)
returns setof runledger.workflow_plan_step
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = auto
set enable_nestloop = on
as $$
declare
  v_now timestamptz := runledger._now();
  v_items runledger._step_item[] := runledger._decode_steps(explain_workflow.steps);
  v_sorted runledger._step_order;
begin
  v_sorted := runledger._require_graph(v_items, '{}');
  return query
  select v_sorted.levels[i.nth], i.step_key, i.job_type, i.after_success || i.after_terminal,
         case when i.is_external then 'EXTERNAL'
              when d.job_type is null then 'UNKNOWN'
              when not d.is_enabled then 'DISABLED'
              when d.is_paused then 'PAUSED'
              else 'DEFINED' end,
         (select count(*) from runledger.workers as w
           where i.job_type = any (w.job_types)
             and w.last_seen_at > v_now - interval '5 minutes')
    from unnest(v_items) as i
    left join runledger.job_definitions as d on d.job_type = i.job_type
   order by v_sorted.levels[i.nth], v_sorted.places[i.nth];
end
$$;

comment on function runledger.explain_workflow(jsonb) is
  'What would run when: a row per step in an order in which they could run. level 0 starts at '
  'once; the highest level plus one is the length of the critical path. handler: DEFINED, '
  'DISABLED, PAUSED or UNKNOWN for the job type, EXTERNAL for a gate; workers: how many seen '
  'lately handle the type.';
