-- What nearly every batch is: plain successes, each with at most an output. They need no judge,
-- only the fence, so finish_jobs ends them in one statement. NULL: something else is there, and the
-- judge looks at the whole batch; no leniency here that it does not have.
create or replace function runledger._decode_successes(outcomes jsonb)
returns runledger._successes
language plpgsql stable
as $$
declare
  v_all runledger._successes;
  v_plain bigint;
  v_jobs bigint;
begin
  select array_agg(s.ordinal order by s.job_id), array_agg(s.job_id order by s.job_id),
         array_agg(s.lease_token order by s.job_id),
         array_agg(nullif(s.item -> 'output', 'null') order by s.job_id),
         count(s.job_id), count(distinct s.job_id)
    into v_all.ordinals, v_all.job_ids, v_all.lease_tokens, v_all.outputs, v_plain, v_jobs
    from (select j.ordinal::integer as ordinal, j.item,
                 case when jsonb_typeof(j.item) = 'object'
                   and j.item ->> 'outcome' = 'SUCCEEDED'
                   and j.item - '{job_id,lease_token,outcome,output}'::text[] = '{}'
                   and j.item ->> 'job_id' like '________-____-____-____-____________'
                   and jsonb_typeof(j.item -> 'lease_token') = 'number'
                   and (j.item -> 'output' is null or runledger._json_problem(
                     j.item -> 'output', runledger._limit('payload_bytes')) is null)
                 then (j.item ->> 'job_id')::uuid end as job_id,
                 (j.item ->> 'lease_token')::bigint as lease_token
            from jsonb_array_elements(_decode_successes.outcomes)
                 with ordinality as j(item, ordinal)) as s;
  if v_plain = jsonb_array_length(_decode_successes.outcomes) and v_jobs = v_plain then
    return v_all;
  end if;
  return null;
exception
  -- No uuid, no integer: the judge says which.
  when data_exception then return null;
end
$$;

comment on function runledger._decode_successes(jsonb) is
  'The outcomes of a batch of plain successes, by job id; NULL when it is anything else.';
