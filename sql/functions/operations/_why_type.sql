create or replace function runledger._why_type(
  job runledger._job_case, type runledger.job_definitions, now timestamptz)
returns setof runledger.reason
language plpgsql stable
as $$
declare
  v_name constant text := runledger._one_line((_why_type.job).job_type);
begin
  if (_why_type.type).job_type is null then
    return query
    select null::integer, 'why.type_unknown',
           format('The type %s is not defined (any more): no claim takes'
             ' jobs of it. The statement defines it with the usual settings.', v_name),
           format('select job_type, is_enabled from runledger.define_job(%L);',
             (_why_type.job).job_type);
  elsif (_why_type.type).is_paused then
    return query
    select null::integer, 'why.type_paused',
           format('The type %s is paused: by %s at %s, %s. No job of it is'
             ' claimed until it is resumed.', v_name, (_why_type.type).paused_by,
             runledger._when((_why_type.type).paused_at, _why_type.now), coalesce(
               'because: ' || runledger._one_line((_why_type.type).paused_reason),
               'without a reason')),
           format('select job_type, is_paused from runledger.resume_job_type(%L);',
             (_why_type.job).job_type);
  end if;
end
$$;

comment on function runledger._why_type(
  runledger._job_case, runledger.job_definitions, timestamptz) is
  'What of its type keeps a job from being claimed: unknown or paused.';
