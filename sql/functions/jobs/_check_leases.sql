create or replace function runledger._check_leases(job_ids uuid[], lease_tokens bigint[])
returns void
language plpgsql immutable
as $$
begin
  if _check_leases.job_ids is null or _check_leases.lease_tokens is null
    or array_ndims(_check_leases.job_ids) > 1 or array_ndims(_check_leases.lease_tokens) > 1
    or cardinality(_check_leases.job_ids) <> cardinality(_check_leases.lease_tokens)
    or cardinality(_check_leases.job_ids) > runledger._limit('max_jobs')
    or array_position(_check_leases.job_ids, null) is not null
    or array_position(_check_leases.lease_tokens, null) is not null then
    perform runledger._raise('job.invalid_tokens',
      jsonb_build_object('max_jobs', runledger._limit('max_jobs')));
  end if;
end
$$;

comment on function runledger._check_leases(uuid[], bigint[]) is
  'Raise unless these are two arrays of equal length without NULLs, within the limit.';
