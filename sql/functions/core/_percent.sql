create or replace function runledger._percent(done bigint, total bigint)
returns numeric
language sql immutable parallel safe
as $$
  select case when _percent.total > 0 then round(_percent.done * 100.0 / _percent.total, 2) end
$$;

comment on function runledger._percent(bigint, bigint) is
  'done of total in percent; NULL while either is unknown or there is nothing to do.';
