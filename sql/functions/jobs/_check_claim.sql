create or replace function runledger._check_claim(
  worker_id text, job_types text[], max_jobs integer, lease_seconds integer)
returns void
language plpgsql stable
as $$
begin
  if not runledger._is_name(_check_claim.worker_id, runledger._limit('name_bytes')) then
    perform runledger._raise('job.invalid_worker_id');
  end if;
  -- array_position refuses nested arrays with an error of its own.
  if _check_claim.job_types is null or array_ndims(_check_claim.job_types) > 1
    or array_position(_check_claim.job_types, null) is not null
    or cardinality(_check_claim.job_types) > runledger._limit('worker_types') then
    perform runledger._raise('job.invalid_job_type',
      jsonb_build_object('max_types', runledger._limit('worker_types')));
  end if;
  perform runledger._check_count(_check_claim.max_jobs, 'max_jobs', 'job.invalid_limit');
  if coalesce(_check_claim.lease_seconds, 0)
    not between 1 and runledger._limit('lease_seconds') then
    perform runledger._raise('job.invalid_lease_duration', jsonb_build_object(
      'lease_seconds', _check_claim.lease_seconds, 'max', runledger._limit('lease_seconds')));
  end if;
  perform runledger._require_granted(
    _check_claim.job_types, runledger._granted_types('{worker}'));
end
$$;

comment on function runledger._check_claim(text, text[], integer, integer) is
  'Raise unless these are proper arguments of a claim, for types that the caller may work on.';
