create or replace function runledger._require_granted(job_types text[], granted text[])
returns void
language plpgsql immutable
as $$
begin
  if _require_granted.granted is null or _require_granted.job_types is null
    or _require_granted.job_types <@ _require_granted.granted then
    return;
  end if;
  perform runledger._raise('access.job_type_not_granted', jsonb_build_object('job_types', (
    select to_jsonb((array_agg(distinct left(t.job_type, 200)))[:100])
      from unnest(_require_granted.job_types) as t(job_type)
     where (t.job_type = any (_require_granted.granted)) is not true)));
end
$$;

comment on function runledger._require_granted(text[], text[]) is
  'Raise access.job_type_not_granted unless all these types are among the granted; NULL: any.';
