-- Both switches of a job type. Turning one to where it is writes nothing and keeps who did it and
-- why; unless it was sync_catalog, which would turn it back once the type is listed again.
create or replace function runledger._switch_definition(
  job_type text, switch text, turned_on boolean, reason text)
returns runledger.job_definition
language plpgsql volatile
as $$
declare
  v_now timestamptz := runledger._now();
  v_found boolean;
begin
  perform runledger._check_reason(_switch_definition.reason, false);
  if _switch_definition.switch = 'enabled' then
    update runledger.job_definitions as d
       set is_enabled = _switch_definition.turned_on, updated_at = v_now,
           disabled_at = case when not _switch_definition.turned_on then v_now end,
           disabled_by = case when not _switch_definition.turned_on then runledger._caller() end,
           disabled_reason = case when not _switch_definition.turned_on
             then _switch_definition.reason end
     where d.job_type = _switch_definition.job_type
       and (d.is_enabled <> _switch_definition.turned_on
            or not _switch_definition.turned_on and d.disabled_at = d.absent_at);
    v_found := found;
    if v_found and not _switch_definition.turned_on then
      perform runledger._require_no_schedule(_switch_definition.job_type);
    end if;
  else
    update runledger.job_definitions as d
       set is_paused = _switch_definition.turned_on, updated_at = v_now,
           paused_at = case when _switch_definition.turned_on then v_now end,
           paused_by = case when _switch_definition.turned_on then runledger._caller() end,
           paused_reason = case when _switch_definition.turned_on then _switch_definition.reason end
     where d.job_type = _switch_definition.job_type
       and d.is_paused <> _switch_definition.turned_on;
    v_found := found;
  end if;
  if v_found then
    perform runledger._record_action(
      case when _switch_definition.switch = 'enabled'
           then case when _switch_definition.turned_on then 'enable_job_type'
                     else 'disable_job_type' end
           else case when _switch_definition.turned_on then 'pause_job_type'
                     else 'resume_job_type' end end,
      _switch_definition.job_type, _switch_definition.reason);
  end if;
  if not exists (select from runledger.job_definitions as d
                  where d.job_type = _switch_definition.job_type) then
    perform runledger._raise('job.definition_not_found',
      jsonb_build_object('job_type', left(_switch_definition.job_type, 200)));
  end if;
  return runledger._definition(_switch_definition.job_type);
end
$$;

comment on function runledger._switch_definition(text, text, boolean, text) is
  'Turn a switch (enabled or paused) of a job type; records role, time and reason of an off or a '
  'pause.';
