-- One outcome of finish_jobs, decoded; what is wrong with it stands in code. The text of an error is
-- cut to its limit, everything else is refused: a failure must not be lost for being wordy.
create or replace function runledger._decode_outcome(item jsonb, ordinal integer, now timestamptz)
returns runledger._outcome
language plpgsql stable
as $$
declare
  v runledger._outcome;
  v_given jsonb;
  v_delay interval;
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
  v.done := runledger._as_bigint(v_given -> 'done');
  v.total := runledger._as_bigint(v_given -> 'total');
  v.kind := case when v_given ? 'kind' then runledger._as_text(v_given -> 'kind') else 'RETRYABLE' end;
  v.error_code := runledger._as_text(v_given -> 'error_code');
  v.error_message := runledger._cut(
    runledger._as_text(v_given -> 'error_message'), runledger._limit('text_bytes'));
  v.reason := runledger._as_text(v_given -> 'reason');
  if v_given ? 'not_before' then
    v.not_before := runledger._as_instant(v_given -> 'not_before');
  end if;
  if v.outcome in ('CONTINUE', 'RELEASE') then
    v_delay := case when v_given ? 'delay' then runledger._as_interval(v_given -> 'delay') else '0' end;
    if v_delay between '0' and '3650 days' then
      v.next_run_at := _decode_outcome.now + v_delay;
      v.delay_ms := extract(epoch from v_delay) * 1000;
    end if;
  end if;
  v.code := case
    when v.job_id is null then 'job.invalid_id'
    when v.lease_token is null then 'job.invalid_tokens'
    else runledger._outcome_problem(v, v_given) end;
  return v;
end
$$;

comment on function runledger._decode_outcome(jsonb, integer, timestamptz) is
  'One outcome of finish_jobs, decoded and checked; never raises.';
