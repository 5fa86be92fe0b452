create or replace function runledger._check_batch(items jsonb)
returns void
language plpgsql immutable
as $$
begin
  if _check_batch.items is null or jsonb_typeof(_check_batch.items) <> 'array'
    or runledger._json_bytes(_check_batch.items) > runledger._limit('batch_bytes')
    or jsonb_array_length(_check_batch.items) > runledger._limit('batch_items') then
    perform runledger._raise('job.invalid_batch', jsonb_build_object(
      'max_items', runledger._limit('batch_items'), 'max_bytes', runledger._limit('batch_bytes')));
  end if;
end
$$;

comment on function runledger._check_batch(jsonb) is
  'Raise job.invalid_batch unless it is an array within the limits.';
