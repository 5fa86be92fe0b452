-- One outcome of finish_jobs, decoded; what is wrong with it stands in code. The text of an error is
-- cut to its limit, everything else is refused: a failure must not be lost for being wordy.
create or replace function runledger._decode_outcome(item jsonb, ordinal integer, now timestamptz)
returns runledger._outcome
language plpgsql stable
as $$
declare
  v runledger._outcome;
  v_given jsonb;
begin
  v.ordinal := _decode_outcome.ordinal;
  if jsonb_typeof(_decode_outcome.item) is distinct from 'object' then
    v.code := 'job.invalid_item';
    return v;
  end if;
  v_given := jsonb_strip_nulls(_decode_outcome.item - '{output,checkpoint}'::text[]);
  v.job_id := runledger._as_uuid(v_given -> 'job_id');
  v.lease_token := runledger._as_bigint(v_given -> 'lease_token');
  v.outcome := runledger._as_text(v_given -> 'outcome');
  v.output := nullif(_decode_outcome.item -> 'output', 'null');
  v.checkpoint := nullif(_decode_outcome.item -> 'checkpoint', 'null');
  v_given := v_given - '{job_id,lease_token,outcome}'::text[];
  if v.job_id is null or v.lease_token is null then
    v.code := case when v.job_id is null then 'job.invalid_id' else 'job.invalid_tokens' end;
    return v;
  elsif v_given = '{}' and v.outcome = 'SUCCEEDED' then
    null;  -- the common case has nothing more to decode
  elsif v.outcome in ('SUCCEEDED', 'CONTINUE') then
    v.done := runledger._as_bigint(v_given -> 'done');
    v.total := runledger._as_bigint(v_given -> 'total');
  end if;
  if v.outcome = 'FAILED' then
    v.kind := case when v_given ? 'kind' then runledger._as_text(v_given -> 'kind') else 'RETRYABLE' end;
    v.error_code := runledger._as_text(v_given -> 'error_code');
    v.error_message := runledger._cut(
      runledger._as_text(v_given -> 'error_message'), runledger._limit('text_bytes'));
    v.not_before := runledger._as_instant(v_given -> 'not_before');
  elsif v.outcome in ('CONTINUE', 'RELEASE') then
    v.reason := runledger._as_text(v_given -> 'reason');
    v.delay_ms := runledger._as_delay_ms(v_given -> 'delay');
  end if;
  v.code := runledger._outcome_problem(v, v_given);
  return v;
end
$$;

comment on function runledger._decode_outcome(jsonb, integer, timestamptz) is
  'One outcome of finish_jobs, decoded and checked; never raises.';
