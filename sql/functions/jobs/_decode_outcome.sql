-- One outcome of finish_jobs, decoded; what is wrong with it stands in code. The text of an error
-- is cut to its limit, everything else is refused: a failure must not be lost for being wordy.
create or replace function runledger._decode_outcome(item jsonb, ordinal integer, now timestamptz)
returns runledger._outcome
language plpgsql stable
as $$
declare
  v_asked runledger._outcome;
  v_given jsonb;
begin
  v_asked.ordinal := _decode_outcome.ordinal;
  if jsonb_typeof(_decode_outcome.item) is distinct from 'object' then
    v_asked.code := 'job.invalid_item';
    return v_asked;
  end if;
  v_given := jsonb_strip_nulls(_decode_outcome.item - '{output,checkpoint}'::text[]);
  v_asked.job_id := runledger._as_uuid(v_given -> 'job_id');
  v_asked.lease_token := runledger._as_bigint(v_given -> 'lease_token');
  v_asked.outcome := runledger._as_text(v_given -> 'outcome');
  v_asked.output := nullif(_decode_outcome.item -> 'output', 'null');
  v_asked.checkpoint := nullif(_decode_outcome.item -> 'checkpoint', 'null');
  v_given := v_given - '{job_id,lease_token,outcome}'::text[];
  if v_asked.job_id is null or v_asked.lease_token is null then
    v_asked.code := case when v_asked.job_id is null
      then 'job.invalid_id' else 'job.invalid_tokens' end;
    return v_asked;
  end if;
  v_asked.done := runledger._as_bigint(v_given -> 'done');
  v_asked.total := runledger._as_bigint(v_given -> 'total');
  if v_asked.outcome = 'FAILED' then
    v_asked.kind := case when v_given ? 'kind' then runledger._as_text(v_given -> 'kind')
      else 'RETRYABLE' end;
    v_asked.error_code := runledger._as_text(v_given -> 'error_code');
    v_asked.error_message := runledger._cut(
      runledger._as_text(v_given -> 'error_message'), runledger._limit('text_bytes'));
    v_asked.not_before := runledger._as_instant(v_given -> 'not_before');
  elsif v_asked.outcome in ('CONTINUE', 'RELEASE') then
    v_asked.reason := runledger._as_text(v_given -> 'reason');
    v_asked.delay_ms := runledger._as_delay_ms(v_given -> 'delay');
  end if;
  v_asked.code := runledger._outcome_problem(v_asked, v_given);
  return v_asked;
end
$$;

comment on function runledger._decode_outcome(jsonb, integer, timestamptz) is
  'One outcome of finish_jobs, decoded and checked; never raises.';
