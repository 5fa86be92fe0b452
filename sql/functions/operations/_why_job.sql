-- Every reason, the one to mend first in front. A job that is due, of a type that may run, with a
-- free worker and nobody before it, is ready: so there is always an answer.
create or replace function runledger._why_job(job runledger._job_case, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_type runledger.job_definitions;
  v_handlers runledger._handler[];
  v_is_ready boolean;
begin
  if (_why_job.job).status = 'LEASED' then
    return query select w.* from runledger._why_leased(_why_job.job, _why_job.now) as w;
    return;
  elsif (_why_job.job).status <> 'PENDING' then
    return query select w.* from runledger._why_finished(_why_job.job, _why_job.now) as w;
    return;
  end if;
  select d.* into v_type
    from runledger.job_definitions as d where d.job_type = (_why_job.job).job_type;
  return query select w.* from runledger._why_type(_why_job.job, v_type, _why_job.now) as w;
  v_is_ready := not found;
  if (_why_job.job).next_run_at > _why_job.now then
    return query select w.* from runledger._why_not_due(_why_job.job, _why_job.now) as w;
    v_is_ready := false;
  end if;
  v_handlers := array(
    select h from runledger._handlers((_why_job.job).job_type, _why_job.now) as h);
  return query
  select w.* from runledger._why_no_worker(_why_job.job, v_handlers, _why_job.now) as w;
  if v_is_ready then
    return query
    select w.* from runledger._why_due(_why_job.job, v_type, v_handlers, _why_job.now) as w;
  end if;
  if not v_type.is_enabled then
    return query
    select null::integer, 'why.type_disabled',
           format('New jobs of type %s are refused: disabled by %s at %s%s.'
             ' That stops no job that is queued, this one included.',
             runledger._one_line(v_type.job_type), v_type.disabled_by,
             runledger._when(v_type.disabled_at, _why_job.now),
             ', because: ' || runledger._one_line(v_type.disabled_reason)),
           format('select job_type, is_enabled from runledger.enable_job_type(%L);',
             v_type.job_type);
  end if;
end
$$;

comment on function runledger._why_job(runledger._job_case, timestamptz) is
  'Every reason why this job is not running, or what it is doing; not yet ranked.';
