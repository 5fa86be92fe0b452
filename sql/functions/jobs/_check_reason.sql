create or replace function runledger._check_reason(reason text, is_required boolean)
returns void
language plpgsql immutable
as $$
begin
  if (_check_reason.reason is null and _check_reason.is_required)
    or (_check_reason.reason is not null
        and not runledger._is_name(_check_reason.reason, runledger._limit('text_bytes'))) then
    perform runledger._raise('job.invalid_reason');
  end if;
end
$$;

comment on function runledger._check_reason(text, boolean) is
  'Raise job.invalid_reason unless it is a proper reason.';
