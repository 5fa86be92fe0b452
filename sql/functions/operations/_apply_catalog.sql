create or replace function runledger._apply_catalog(
  catalog text, plan runledger._catalog_entry[], now timestamptz)
returns void
language plpgsql volatile
as $$
declare
  v_entry runledger._catalog_entry;
  v_d runledger.job_definitions;
  v_s runledger.job_schedules;
  v_done jsonb;
begin
  foreach v_entry in array _apply_catalog.plan loop
    v_d := v_entry.definition;
    v_s := v_entry.schedule;
    if v_entry.action = 'REFUSED' then
      -- Its place; the id of a schedule that was there is another one.
      delete from runledger.job_schedules as s where s.id = v_s.id;
    elsif v_entry.action = 'UNCHANGED' then
      null;
    elsif v_entry.kind = 'JOB_TYPE' then
      update runledger.job_definitions as d
         set version = v_d.version, max_attempts = v_d.max_attempts,
             default_timeout_seconds = v_d.default_timeout_seconds,
             default_priority = v_d.default_priority, max_concurrency = v_d.max_concurrency,
             retry_base_ms = v_d.retry_base_ms, retry_max_ms = v_d.retry_max_ms,
             retry_delays_ms = v_d.retry_delays_ms, is_enabled = v_d.is_enabled,
             disabled_at = v_d.disabled_at, disabled_by = v_d.disabled_by,
             disabled_reason = v_d.disabled_reason, catalog = v_d.catalog,
             absent_at = v_d.absent_at, updated_at = _apply_catalog.now
       where d.job_type = v_entry.name;
    else
      update runledger.job_schedules as s
         set job_type = v_s.job_type, workflow_type = v_s.workflow_type,
             workflow_steps = v_s.workflow_steps, organization_id = v_s.organization_id,
             payload_template = v_s.payload_template, cron_expr = v_s.cron_expr,
             timezone = v_s.timezone, missed = v_s.missed,
             max_jitter_seconds = v_s.max_jitter_seconds, is_active = v_s.is_active,
             paused_at = v_s.paused_at, paused_by = v_s.paused_by,
             paused_reason = v_s.paused_reason, next_fire_at = v_s.next_fire_at,
             next_base_at = v_s.next_base_at, deferred_at = null, deferred_until = null,
             deferred_code = null, catalog = v_s.catalog, absent_at = v_s.absent_at,
             updated_at = _apply_catalog.now
       where s.id = v_s.id;
    end if;
  end loop;
  select jsonb_object_agg(c.action, c.count) into v_done
    from (select e.action, count(*) as count from unnest(_apply_catalog.plan) as e
           group by e.action) as c;
  if v_done - '{UNCHANGED,REFUSED}'::text[] <> '{}' then
    perform runledger._record_action('sync_catalog', _apply_catalog.catalog, null, v_done);
  end if;
end
$$;

comment on function runledger._apply_catalog(text, runledger._catalog_entry[], timestamptz) is
  'Write what _plan_catalog decided.';
