create or replace function runledger._claim_scope(job_types text[])
returns text
language plpgsql immutable parallel safe
as $$
begin
  return encode(sha256(convert_to(_claim_scope.job_types::text, 'UTF8')), 'hex');
end
$$;

comment on function runledger._claim_scope(text[]) is
  'For which types a mark is good: the same for the same types in the same order.';
