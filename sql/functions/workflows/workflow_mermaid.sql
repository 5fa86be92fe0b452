-- A run as a Mermaid flowchart, to paste into anything that draws one. With a tenant the run must
-- be its own, and steps that were given to another one are left out, with their edges.
--
-- Locks:  none.
-- Writes: nothing.
-- Raises: RL001 workflow.run_not_found (also for another tenant).
create or replace function runledger.workflow_mermaid(
  workflow_run_id uuid, organization_id uuid default null)
returns text
language plpgsql stable
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_tenant constant uuid := workflow_mermaid.organization_id;
  v_lines text;
begin
  if not runledger._run_in_scope(workflow_mermaid.workflow_run_id, v_tenant) then
    perform runledger._raise('workflow.run_not_found',
      jsonb_build_object('workflow_run_id', workflow_mermaid.workflow_run_id));
  end if;
  select string_agg(l.line, E'\n' order by l.part, l.a, l.b) into v_lines
    from (
      select 1 as part, s.ordinal as a, 0 as b, format(
               case s.execution_kind when 'EXTERNAL' then '  s%s{{"%s"}}:::%s'
                 else '  s%s["%s"]:::%s' end,
               s.ordinal, translate(s.step_key, E'"\n\r\t<>&', E'\'   '),
               lower(s.status::text)) as line
        from runledger.workflow_steps as s
       where s.workflow_run_id = workflow_mermaid.workflow_run_id
         and (v_tenant is null or s.organization_id = v_tenant)
      union all
      select 2, p.ordinal, d.ordinal, format(
               case e.release_mode when 'ON_SUCCESS' then '  s%s --> s%s' else '  s%s -.-> s%s' end,
               p.ordinal, d.ordinal)
        from runledger.workflow_step_dependencies as e
        join runledger.workflow_steps as p on p.id = e.prerequisite_step_id
        join runledger.workflow_steps as d on d.id = e.dependent_step_id
       where e.workflow_run_id = workflow_mermaid.workflow_run_id
         and (v_tenant is null
              or (p.organization_id = v_tenant and d.organization_id = v_tenant))
    ) as l;
  return concat_ws(E'\n', 'flowchart TD', v_lines,
    '  classDef succeeded fill:#c8e6c9', '  classDef failed fill:#ffcdd2',
    '  classDef canceled fill:#e0e0e0', '  classDef running fill:#bbdefb',
    '  classDef enqueued fill:#e3f2fd', '  classDef waiting_for_external fill:#fff9c4',
    '  classDef blocked fill:#ffffff');
end
$$;

comment on function runledger.workflow_mermaid(uuid, uuid) is
  'A run as a Mermaid flowchart: --> needs success, -.-> any end; gates are hexagons. With a '
  'tenant only its own steps.';
