-- What nearly every batch is: plain successes, each with at most an output, under live leases. They
-- need no judge, only the fence. What can be seen to be in the way is looked for here, without a
-- lock, because a write that is taken back costs as much as one that stays. The look finds the
-- place of each row, too, so that the update need not search for it once more; a row that has moved
-- until then is not found. NULL: something else is there, and the judge looks at the whole batch;
-- no leniency here that he does not have.
--
-- Rows are updated, and so locked, in the order of these arrays: by job id, and each says so. An
-- aggregate that says nothing gets its rows sorted for one beside it that is ordered or distinct.
create or replace function runledger._plain_successes(outcomes jsonb)
returns runledger._successes
language plpgsql stable
as $$
declare
  v_all runledger._successes;
  v_is_live boolean;
begin
  with item as materialized (
    select j.ordinal::integer as ordinal, (j.item ->> 'lease_token')::bigint as lease_token,
           case when jsonb_typeof(j.item) = 'object'
             and j.item ->> 'outcome' = 'SUCCEEDED'
             and j.item - '{job_id,lease_token,outcome,output}'::text[] = '{}'
             and j.item ->> 'job_id' like '________-____-____-____-____________'
             and jsonb_typeof(j.item -> 'lease_token') = 'number'
             and (j.item -> 'output' is null or runledger._json_problem(
               j.item -> 'output', runledger._limit('payload_bytes')) is null)
           then (j.item ->> 'job_id')::uuid end as job_id,
           nullif(j.item -> 'output', 'null') as output
      from jsonb_array_elements(_plain_successes.outcomes) with ordinality as j(item, ordinal)
     order by 3
  )
  select array_agg(i.ordinal order by i.job_id), array_agg(i.job_id order by i.job_id),
         array_agg(i.lease_token order by i.job_id), array_agg(i.output order by i.job_id),
         array_agg(q.ctid order by i.job_id),
         array_agg(q.workflow_run_id order by i.job_id)
           filter (where q.workflow_run_id is not null),
         bool_and((q.status = 'LEASED' and q.lease_token = i.lease_token) is true)
    into v_all.ordinals, v_all.job_ids, v_all.lease_tokens, v_all.outputs, v_all.places,
         v_all.runs, v_is_live
    from item as i
    left join lateral (
      select x.ctid, x.workflow_run_id, x.status, x.lease_token
        from runledger.job_queue as x where x.id = i.job_id offset 0) as q on true;
  if v_is_live then
    return v_all;
  end if;
  return null;
end
$$;

comment on function runledger._plain_successes(jsonb) is
  'The outcomes of a batch of plain successes under live leases, by job id; NULL when it is '
  'anything else.';
