-- One entry of a catalog, with the defaults of the table for what is left out. A wrong type becomes
-- a value that is out of range, and so gets the code of that.
create or replace function runledger._decode_definition(item jsonb)
returns runledger._catalog_entry
language plpgsql stable
as $$
declare
  v_given constant jsonb := runledger._without_nulls(_decode_definition.item);
  v_new runledger.job_definitions;
  v_entry runledger._catalog_entry;
begin
  v_entry.kind := 'JOB_TYPE';
  v_entry.name := v_given ->> 'job_type';
  v_entry.changes := '{}';
  v_new.job_type := v_entry.name;
  v_new.version := runledger._integer_field(v_given, 'version', 1);
  v_new.max_attempts := runledger._integer_field(v_given, 'max_attempts', 8);
  v_new.default_timeout_seconds := runledger._integer_field(v_given, 'timeout_seconds', 900);
  v_new.default_priority := case when v_given ? 'priority'
    then runledger._as_integer(v_given -> 'priority') else 100 end;
  v_new.max_concurrency := runledger._integer_field(v_given, 'max_concurrency', 0);
  v_new.retry_base_ms := runledger._integer_field(v_given, 'retry_base_ms', 5000);
  v_new.retry_max_ms := runledger._integer_field(
    v_given, 'retry_max_ms', greatest(300000, v_new.retry_base_ms));
  v_new.retry_delays_ms := coalesce(v_given -> 'retry_delays_ms', '{}');
  v_entry.code := case
    when not runledger._has_only(v_given, '{job_type,version,max_attempts,timeout_seconds,'
      'priority,max_concurrency,retry_base_ms,retry_max_ms,retry_delays_ms}')
      then 'job.unknown_field'
    when v_new.default_priority is null then 'job.invalid_priority'
    else coalesce(runledger._json_problem(v_new.retry_delays_ms,
      runledger._limit('metadata_bytes')), runledger._definition_problem(v_new)) end;
  v_new.max_concurrency := nullif(v_new.max_concurrency, 0);
  v_entry.definition := v_new;
  return v_entry;
end
$$;

comment on function runledger._decode_definition(jsonb) is
  'A job type of a catalog, decoded; what is wrong with it stands in code.';
