-- Define a job type, or change what is given of it; with if_missing an existing one stays as it is.
--
-- Locks:  the definition row.
-- Writes: job_definitions, operator_actions; nothing when nothing changes.
-- Raises: RL004 job_definition.active_schedule_exists, RL010 for each setting that makes no sense,
--         RL011 for retry_delays_ms.
create or replace function runledger.define_job(
  job_type text, version integer default null, max_attempts integer default null,
  timeout_seconds integer default null, priority integer default null,
  is_enabled boolean default null, max_concurrency integer default null,
  retry_base_ms integer default null, retry_max_ms integer default null,
  retry_delays_ms jsonb default null, if_missing boolean default false)
returns runledger.job_definition
language plpgsql volatile
security definer set search_path = pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := runledger._now();
  v_old runledger.job_definitions;
  v_new runledger.job_definitions;
  v_problem text;
  v_is_new boolean;
  v_keeps boolean;
begin
  if not runledger._is_name(define_job.job_type, runledger._limit('name_bytes')) then
    perform runledger._raise('job.invalid_job_type');
  end if;
  perform runledger._checked_json(
    define_job.retry_delays_ms, runledger._limit('metadata_bytes'), 'retry_delays_ms');
  -- Insert first, so that two who define a type at once meet on the row and not on an error.
  insert into runledger.job_definitions (job_type, created_at, updated_at)
  values (define_job.job_type, v_now, v_now) on conflict do nothing;
  v_is_new := found;
  v_keeps := not v_is_new and coalesce(define_job.if_missing, false);
  select d.* into strict v_old
    from runledger.job_definitions as d
   where d.job_type = define_job.job_type for no key update;
  v_new := v_old;
  v_new.version := coalesce(define_job.version, v_old.version);
  v_new.max_attempts := coalesce(define_job.max_attempts, v_old.max_attempts);
  v_new.default_timeout_seconds := coalesce(
    define_job.timeout_seconds, v_old.default_timeout_seconds);
  v_new.default_priority := coalesce(define_job.priority, v_old.default_priority);
  v_new.max_concurrency := coalesce(define_job.max_concurrency, v_old.max_concurrency);
  v_new.retry_base_ms := coalesce(define_job.retry_base_ms, v_old.retry_base_ms);
  v_new.retry_max_ms := coalesce(
    define_job.retry_max_ms, greatest(v_old.retry_max_ms, v_new.retry_base_ms));
  v_new.retry_delays_ms := coalesce(define_job.retry_delays_ms, v_old.retry_delays_ms);
  v_problem := runledger._definition_problem(v_new);
  if v_problem is not null then
    perform runledger._raise(v_problem, jsonb_build_object('job_type', define_job.job_type));
  end if;
  v_new.max_concurrency := nullif(v_new.max_concurrency, 0);
  if (v_is_new or v_new is distinct from v_old) and not v_keeps then
    perform runledger._record_action('define_job', v_old.job_type, null,
      runledger._changed(to_jsonb(v_old), to_jsonb(v_new)));
    update runledger.job_definitions as d
       set version = v_new.version, max_attempts = v_new.max_attempts,
           default_timeout_seconds = v_new.default_timeout_seconds,
           default_priority = v_new.default_priority, max_concurrency = v_new.max_concurrency,
           retry_base_ms = v_new.retry_base_ms, retry_max_ms = v_new.retry_max_ms,
           retry_delays_ms = v_new.retry_delays_ms, updated_at = v_now
     where d.job_type = define_job.job_type;
  end if;
  if define_job.is_enabled is not null and not v_keeps then
    perform runledger._switch_definition(
      define_job.job_type, 'enabled', define_job.is_enabled, null);
  end if;
  return runledger._definition(define_job.job_type);
end
$$;

comment on function runledger.define_job(
  text, integer, integer, integer, integer, boolean, integer, integer, integer, jsonb,
  boolean) is
  'Define a job type or change it; NULL takes the default on insert and keeps the value on '
  'update. timeout_seconds, priority and max_attempts are defaults of new jobs; max_concurrency '
  'bounds live leases over the fleet, 0 lifts it; retry_delays_ms maps an error code to a fixed '
  'delay. An equal call writes nothing; if_missing: nor does any, once the type exists. Returns '
  'the definition.';
