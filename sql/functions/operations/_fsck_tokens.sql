-- J9: no stored token is above the sequence, or it will be issued a second time. A logical
-- restore, a fail-over or a setval by hand does that. The sequence has no snapshot: what it shows
-- is newer than the tokens, never older. A fast look compares the tokens that fence something
-- now.
create or replace function runledger._fsck_tokens(
  everything boolean, workflow_run_id uuid, max_rows integer)
returns setof runledger.fsck_finding
language plpgsql stable
as $$
begin
  return query
  with stored as (
    select max(greatest(q.lease_token, q.last_lease_token)) as token
      from runledger._fsck_scope(_fsck_tokens.everything, _fsck_tokens.workflow_run_id) as q
     where _fsck_tokens.everything or q.lease_token is not null
    union all
    select max(a.lease_token)
      from runledger.job_attempts as a
     where _fsck_tokens.everything and _fsck_tokens.workflow_run_id is null
  )
  select 'J9', 'ERROR', 'sequence runledger.lease_token_seq', jsonb_build_object(
           'largest_token', m.token, 'last_value', s.last_value, 'is_called', s.is_called,
           'violations', 1),
         format('select setval(''runledger.lease_token_seq'', %s)', m.token + 4294967296)
    from (select max(t.token) as token from stored as t) as m
   cross join runledger.lease_token_seq as s
   where m.token > s.last_value or (m.token = s.last_value and not s.is_called)
   limit _fsck_tokens.max_rows;
end
$$;

comment on function runledger._fsck_tokens(boolean, uuid, integer) is
  'Invariant J9: tokens and their sequence.';
